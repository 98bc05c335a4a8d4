//! The contract as Markdown: packages in the order of their names, and within each what is called, then what is sent.

use anyhow::bail;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

use crate::comment::{Comments, Path, part};
use crate::markdown;

/// Where messages that are not ours are described.
const FOREIGN: &str = "https://protobuf.dev/reference/protobuf/google.protobuf/";

/// What the packages of the contract begin with.
const OURS: &str = "relief.";

/// The files of the contract, in the order of their packages.
pub(crate) fn files(contract: &FileDescriptorSet) -> Vec<&FileDescriptorProto> {
    let mut files: Vec<&FileDescriptorProto> =
        contract.file.iter().filter(|file| file.package().starts_with(OURS)).collect();
    files.sort_unstable_by_key(|file| (file.package(), file.name()));
    files
}

/// The whole contract, a list of its packages first.
pub(crate) fn reference(contract: &FileDescriptorSet) -> anyhow::Result<String> {
    let (mut list, mut packages) = (String::new(), String::new());
    for file in files(contract) {
        let name = file.package();
        let comment = markdown::cell(Comments::new(file).package(name)?);
        list.push_str(&format!("- [{name}](#{name}): {comment}\n"));
        packages.push_str(&package(file)?);
    }
    Ok(format!("{list}\n{}", packages.trim_end()))
}

fn package(file: &FileDescriptorProto) -> anyhow::Result<String> {
    let (name, comments) = (file.package(), Comments::new(file));
    let comment = markdown::text(comments.package(name)?);
    let mut page = format!("<a id=\"{name}\"></a>\n\n### {name}\n\n{comment}\n\n");
    for (idx, service) in file.service.iter().enumerate() {
        page.push_str(&self::service(service, name, &Path::of(part::FILE_SERVICE, idx)?, &comments)?);
    }
    for (idx, message) in file.message_type.iter().enumerate() {
        page.push_str(&self::message(message, name, &Path::of(part::FILE_MESSAGE, idx)?, &comments)?);
    }
    for (idx, values) in file.enum_type.iter().enumerate() {
        page.push_str(&enumeration(values, name, &Path::of(part::FILE_ENUM, idx)?, &comments)?);
    }
    Ok(page)
}

fn heading(name: &str, scope: &str, comment: &str) -> String {
    format!("<a id=\"{scope}.{name}\"></a>\n\n#### {name}\n\n{}\n\n", markdown::text(comment))
}

fn service(service: &ServiceDescriptorProto, scope: &str, path: &Path, comments: &Comments) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for (idx, method) in service.method.iter().enumerate() {
        let comment = comments.above(&path.join(part::SERVICE_METHOD, idx)?, method.name())?;
        let side = |is_stream, name| format!("{}{}", if is_stream { "stream of " } else { "" }, link(name));
        rows.push([
            format!("`{}`", method.name()),
            side(method.client_streaming(), method.input_type()),
            side(method.server_streaming(), method.output_type()),
            markdown::cell(comment),
        ]);
    }
    let head = heading(service.name(), scope, comments.above(path, service.name())?);
    Ok(format!("{head}{}\n", markdown::table(["call", "request", "response", "what it does"], rows)))
}

fn message(message: &DescriptorProto, scope: &str, path: &Path, comments: &Comments) -> anyhow::Result<String> {
    let name = message.name();
    let mut page = heading(name, scope, comments.above(path, name)?);
    let mut rows = Vec::new();
    for (idx, field) in message.field.iter().enumerate() {
        let comment = comments.above(&path.join(part::MESSAGE_FIELD, idx)?, &format!("{name}.{}", field.name()))?;
        let number = field.number().to_string();
        rows.push([number, format!("`{}`", field.name()), field_type(field)?, markdown::cell(comment)]);
    }
    if rows.is_empty() {
        page.push_str("It has no fields.\n\n");
    } else {
        page.push_str(&format!("{}\n", markdown::table(["number", "field", "type", "meaning"], rows)));
    }
    for (idx, oneof) in message.oneof_decl.iter().enumerate() {
        let belongs = |field: &&FieldDescriptorProto| {
            field.oneof_index.and_then(|of| usize::try_from(of).ok()) == Some(idx) && !field.proto3_optional()
        };
        let members: Vec<String> =
            message.field.iter().filter(belongs).map(|field| format!("`{}`", field.name())).collect();
        if !members.is_empty() {
            let comment = comments.above(&path.join(part::MESSAGE_ONEOF, idx)?, &format!("{name}.{}", oneof.name()))?;
            let comment = markdown::cell(comment);
            page.push_str(&format!("`{}`, at most one of {}: {comment}\n\n", oneof.name(), members.join(", ")));
        }
    }
    let scope = format!("{scope}.{name}");
    for (idx, nested) in message.nested_type.iter().enumerate() {
        page.push_str(&self::message(nested, &scope, &path.join(part::MESSAGE_MESSAGE, idx)?, comments)?);
    }
    for (idx, nested) in message.enum_type.iter().enumerate() {
        page.push_str(&enumeration(nested, &scope, &path.join(part::MESSAGE_ENUM, idx)?, comments)?);
    }
    Ok(page)
}

fn enumeration(values: &EnumDescriptorProto, scope: &str, path: &Path, comments: &Comments) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for (idx, value) in values.value.iter().enumerate() {
        let comment = comments.above(&path.join(part::ENUM_VALUE, idx)?, value.name())?;
        rows.push([value.number().to_string(), format!("`{}`", value.name()), markdown::cell(comment)]);
    }
    let head = heading(values.name(), scope, comments.above(path, values.name())?);
    Ok(format!("{head}{}\n", markdown::table(["number", "value", "meaning"], rows)))
}

fn field_type(field: &FieldDescriptorProto) -> anyhow::Result<String> {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        Type::Group => bail!("{} is a group", field.name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    };
    Ok(match field.label() {
        Label::Repeated => format!("repeated {kind}"),
        _ if field.proto3_optional() => format!("optional {kind}"),
        _ => kind,
    })
}

/// A link to where the message or enum `.package.Name` is described.
fn link(name: &str) -> String {
    let name = name.trim_start_matches('.');
    let short = name.rsplit('.').next().unwrap_or(name);
    match name.strip_prefix("google.protobuf.") {
        Some(short) => format!("[{short}]({FOREIGN}#{})", short.to_ascii_lowercase()),
        None => format!("[{short}](#{name})"),
    }
}

/// The full names of all calls, `package.Service/Method`.
pub(crate) fn calls(contract: &FileDescriptorSet) -> Vec<String> {
    let of = |file: &FileDescriptorProto| -> Vec<String> {
        let of = |service: &ServiceDescriptorProto| -> Vec<String> {
            let name = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            service.method.iter().map(|method| name(method.name())).collect()
        };
        file.service.iter().flat_map(of).collect()
    };
    files(contract).into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: Type, name: &str) -> FieldDescriptorProto {
        FieldDescriptorProto {
            r#type: Some(kind.into()),
            type_name: (!name.is_empty()).then(|| name.to_owned()),
            ..FieldDescriptorProto::default()
        }
    }

    #[test]
    fn types_are_named_as_in_the_protos_and_messages_are_links() -> anyhow::Result<()> {
        assert_eq!(field_type(&field(Type::Uint64, ""))?, "uint64");
        let repeated = FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field(Type::Double, "") };
        assert_eq!(field_type(&repeated)?, "repeated double");
        let optional = FieldDescriptorProto { proto3_optional: Some(true), ..field(Type::Message, ".relief.a.v1.B") };
        assert_eq!(field_type(&optional)?, "optional [B](#relief.a.v1.B)");
        let foreign = field(Type::Message, ".google.protobuf.Duration");
        assert_eq!(field_type(&foreign)?, format!("[Duration]({FOREIGN}#duration)"));
        Ok(())
    }

    #[test]
    fn what_has_no_comment_is_refused() {
        let file = FileDescriptorProto { package: Some("relief.a.v1".to_owned()), ..FileDescriptorProto::default() };
        let refused = reference(&FileDescriptorSet { file: vec![file] }).map_err(|error| error.to_string());
        assert_eq!(refused, Err("relief.a.v1 has no comment".to_owned()));
    }
}
