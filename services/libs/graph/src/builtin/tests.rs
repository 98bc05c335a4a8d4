use super::*;

fn shape(text: &str) -> InputShape {
    text.parse().expect("a good shape")
}

/// The dimensions of the parameter `name` of `network`.
fn dims(network: &str, name: &str) -> Option<Vec<usize>> {
    let graph = build_default(network).expect("a known network");
    graph.parameters().iter().find(|parameter| parameter.name == name).map(|parameter| parameter.shape.clone())
}

#[test]
fn networks_have_the_published_numbers_of_parameters() {
    let expected = [
        ("lenet5", 61_706),
        ("vgg9", 2_789_706),
        ("resnet20", 272_474),
        ("resnet32", 466_906),
        ("resnet44", 661_338),
        ("resnet56", 855_770),
        ("resnet110", 1_730_714),
        ("resnet20_noshort", 269_722),
        ("resnet32_noshort", 464_154),
        ("resnet44_noshort", 658_586),
        ("resnet56_noshort", 853_018),
        ("resnet110_noshort", 1_727_962),
        ("wrn56_2", 3_412_394),
        ("wrn56_4", 13_628_234),
        ("wrn56_8", 54_470_282),
        ("wrn56_2_noshort", 3_401_770),
        ("wrn56_4_noshort", 13_586_506),
        ("wrn56_8_noshort", 54_304_906),
        ("wrn110_2_noshort", 6_893_482),
        ("wrn110_4_noshort", 27_537_226),
        ("resnet18", 11_173_962),
        ("resnet34", 21_282_122),
        ("resnet50", 23_520_842),
        ("resnet101", 42_512_970),
        ("resnet152", 58_156_618),
        ("resnet18_noshort", 11_000_138),
        ("resnet34_noshort", 21_108_298),
        ("resnet50_noshort", 20_744_266),
        ("resnet101_noshort", 39_736_394),
        ("resnet152_noshort", 55_380_042),
        ("densenet121", 6_956_298),
    ];
    for (name, n_parameters) in expected {
        assert_eq!(build_default(name).expect("a known network").n_parameters(), n_parameters, "{name}");
    }
    assert_eq!(names().count(), expected.len());
}

#[test]
fn networks_have_the_operators_of_their_definitions() {
    let operators = ["Conv", "BatchNormalization", "Relu", "Add", "Concat", "MaxPool", "AveragePool", "Gemm"];
    // By hand: the layers but the last, then the projections, one at the first block of each stage whose shape changes.
    for (name, expected) in [
        ("vgg9", [7, 8, 8, 0, 0, 3, 0, 2]),
        ("resnet20", [19 + 2, 19 + 2, 19, 9, 0, 0, 0, 1]),
        ("resnet110_noshort", [109, 109, 109, 0, 0, 0, 0, 1]),
        ("wrn56_2", [55 + 2, 55 + 2, 55, 27, 0, 0, 0, 1]),
        ("resnet18", [17 + 3, 17 + 3, 17, 8, 0, 0, 0, 1]),
        ("resnet18_noshort", [17, 17, 17, 0, 0, 0, 0, 1]),
        ("resnet50", [49 + 4, 49 + 4, 49, 16, 0, 0, 0, 1]),
        ("resnet50_noshort", [49, 49, 49 - 16, 0, 0, 0, 0, 1]),
        ("densenet121", [120, 120, 120, 0, 58, 0, 3, 1]),
    ] {
        let graph = build_default(name).expect("a known network");
        let count = |operator| graph.nodes().iter().filter(|node| node.op.name() == operator).count();
        assert_eq!(operators.map(count), expected, "{name}: {operators:?}");
    }
}

#[test]
fn parameters_have_the_names_of_pytorch() {
    assert_eq!(dims("resnet20", "conv1.weight"), Some(vec![16, 3, 3, 3]));
    assert_eq!(dims("resnet20", "layer1.0.conv1.weight"), Some(vec![16, 16, 3, 3]));
    assert_eq!(dims("resnet20", "layer1.0.shortcut.0.weight"), None);
    assert_eq!(dims("resnet20", "layer2.0.shortcut.0.weight"), Some(vec![32, 16, 1, 1]));
    assert_eq!(dims("resnet20", "layer3.0.shortcut.1.running_var"), Some(vec![64]));
    assert_eq!(dims("resnet20", "linear.weight"), Some(vec![10, 64]));
    assert_eq!(dims("wrn56_4", "layer3.8.conv2.weight"), Some(vec![256, 256, 3, 3]));
    assert_eq!(dims("resnet50", "layer1.0.shortcut.0.weight"), Some(vec![256, 64, 1, 1]));
    assert_eq!(dims("resnet50", "layer4.2.conv3.weight"), Some(vec![2048, 512, 1, 1]));
    assert_eq!(dims("resnet50_noshort", "layer4.0.shortcut.0.weight"), None);
    assert_eq!(dims("vgg9", "features.21.running_mean"), Some(vec![256]));
    assert_eq!(dims("vgg9", "features.20.bias"), Some(vec![256]));
    assert_eq!(dims("vgg9", "fc.0.weight"), Some(vec![256, 4096]));
    assert_eq!(dims("vgg9", "classifier.bias"), Some(vec![10]));
    assert_eq!(dims("densenet121", "dense3.23.conv1.weight"), Some(vec![128, 256 + 23 * 32, 1, 1]));
    assert_eq!(dims("densenet121", "trans3.conv.weight"), Some(vec![512, 1024, 1, 1]));
    assert_eq!(dims("densenet121", "bn.weight"), Some(vec![1024]));
    assert_eq!(build_default("resnet20").expect("a known network").parameters().len(), 107);
}

#[test]
fn networks_fit_any_input_and_number_of_classes() {
    for name in names() {
        for (input, n_classes) in [("1x12x12", 2), ("3x32x32", 100), ("4x57x31", 7)] {
            let graph = build(name, shape(input), n_classes).expect("large enough");
            assert_eq!((graph.input_shape(), graph.n_classes()), (shape(input), n_classes));
        }
    }
}

#[test]
fn networks_take_images_down_to_their_least_side() {
    for name in names() {
        let least = describe(name).expect("a known network").least_side;
        let square = |side| InputShape::new(1, side, side).expect("a good shape");
        assert_eq!(build(name, square(least), 3).expect("large enough").n_classes(), 3, "{name}");
        if least > 1 {
            let refused = build(name, square(least - 1), 3);
            assert!(matches!(refused, Err(BuiltinError::TooSmall { .. })), "{name}: {refused:?}");
        }
    }
}

#[test]
fn impossible_networks_are_refused_with_their_reason() {
    let message = |name, input, n_classes| build(name, shape(input), n_classes).expect_err("impossible").to_string();
    assert_eq!(message("lenet5", "1x28x11", 10), "`lenet5` needs images of at least 12 x 12, got 1x28x11");
    assert_eq!(message("vgg9", "3x7x32", 10), "`vgg9` needs images of at least 8 x 8, got 3x7x32");
    assert_eq!(message("densenet121", "3x32x7", 10), "`densenet121` needs images of at least 8 x 8, got 3x32x7");
    assert_eq!(message("lenet5", "1x28x28", 0), "a network needs at least 1 class, got 0");
    for (name, input, n_classes) in [("resnet20", "3x32x32", usize::MAX), ("vgg9", "3x65536x65536", 10)] {
        let huge = build(name, shape(input), n_classes).expect_err("no room");
        assert!(
            matches!(&huge, BuiltinError::Build { source, .. } if matches!(**source, GraphError::TooLarge { .. })),
            "{name}: {huge:?}"
        );
    }
}

#[test]
fn an_unknown_name_is_told_the_families() {
    assert_eq!(
        build("lenet", shape("1x28x28"), 10).expect_err("unknown").to_string(),
        "there is no built-in network `lenet`; there are lenet5; vgg9; \
         resnet20[_noshort], resnet32[_noshort], resnet44[_noshort], resnet56[_noshort], resnet110[_noshort]; \
         wrn56_2[_noshort], wrn56_4[_noshort], wrn56_8[_noshort], wrn110_2_noshort, wrn110_4_noshort; \
         resnet18[_noshort], resnet34[_noshort], resnet50[_noshort], resnet101[_noshort], resnet152[_noshort]; \
         densenet121"
    );
}

#[test]
fn descriptions_follow_from_the_definitions() {
    for (name, family, text) in [
        ("lenet5", "LeNet", "5 layers, 2 convolutions of 6 and 16 channels, 3 linear layers"),
        ("vgg9", "VGG", "9 layers, 7 convolutions of 64 to 256 channels, 2 linear layers"),
        ("resnet110", "CIFAR ResNet", "110 layers, basic blocks of 16 to 64 channels, projected shortcuts"),
        ("wrn56_8_noshort", "wide CIFAR ResNet", "56 layers, basic blocks of 128 to 512 channels, no shortcuts"),
        ("resnet34", "ImageNet ResNet", "34 layers, basic blocks of 64 to 512 channels, projected shortcuts"),
        ("resnet152_noshort", "ImageNet ResNet", "152 layers, bottlenecks of 64 to 512 channels, no shortcuts"),
        ("densenet121", "DenseNet", "121 layers, 4 blocks that grow by 32 channels a layer"),
    ] {
        let description = describe(name).expect("a known network");
        assert_eq!((description.family, description.text().as_str()), (family, text), "{name}");
    }
}

#[test]
fn shapes_follow_the_strides() {
    let dims = |name: &str, value: &str| {
        build_default(name).expect("a known network").shapes().get(value).map(|shape| shape.dims.clone())
    };
    for (name, value, expected) in [
        ("resnet20", "layer1.2.relu2", [16, 32, 32]),
        ("resnet20", "layer2.0.conv1", [32, 16, 16]),
        ("resnet20", "layer3.2.relu2", [64, 8, 8]),
        ("wrn56_8", "layer3.8.relu2", [512, 8, 8]),
        ("resnet50", "layer2.0.conv1", [128, 32, 32]),
        ("resnet50", "layer2.0.conv2", [128, 16, 16]),
        ("resnet50", "layer4.2.relu3", [2048, 4, 4]),
        ("vgg9", "features.23", [256, 4, 4]),
        ("densenet121", "dense1.5.concat", [256, 32, 32]),
        ("densenet121", "dense4.15.concat", [1024, 4, 4]),
    ] {
        assert_eq!(dims(name, value), Some(expected.to_vec()), "{name}: {value}");
    }
    assert_eq!(dims("densenet121", "logits"), Some(vec![10]));
}

#[test]
fn new_features_stand_in_front() {
    let graph = build_default("densenet121").expect("a known network");
    let concat = graph.nodes().iter().find(|node| node.name == "dense2.3.concat").expect("a layer of the second block");
    assert_eq!(concat.inputs, ["dense2.3.conv2", "dense2.2.concat"]);
}

#[test]
fn blocks_without_shortcuts_keep_their_last_relu_unless_they_are_bottlenecks() {
    let reads = |name: &str, node: &str| {
        let graph = build_default(name).expect("a known network");
        graph.nodes().iter().find(|found| found.name == node).expect("a node").inputs[0].clone()
    };
    assert_eq!(reads("resnet18_noshort", "layer1.1.conv1"), "layer1.0.relu2");
    assert_eq!(reads("resnet50_noshort", "layer1.1.conv1"), "layer1.0.bn3");
    assert_eq!(reads("resnet50_noshort", "pool"), "layer4.2.bn3");
    assert_eq!(reads("resnet50", "layer1.1.conv1"), "layer1.0.relu3");
}
