use super::*;

#[test]
fn the_median_is_in_the_middle_of_any_order() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&[7.0]), 7.0);
    assert!(median(&[]).is_nan());
}

#[test]
fn a_spread_tells_the_lowest_and_the_highest_beside_the_median() {
    let spread = Spread::of(&[2.81, 3.52, 1.74]).expect("values");
    assert_eq!(spread, Spread { median: 2.81, lowest: 1.74, highest: 3.52 });
    assert_eq!(spread.to_string(), "2.81, 1.7-3.5");
    assert_eq!(Spread::of(&[0.0712, 0.064, 1.04]).expect("values").to_string(), "0.07, 0.06-1.0");
    assert_eq!(Spread::of(&[]), None);
}
