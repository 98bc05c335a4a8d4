//! The comments of a proto file, by the path of what they stand above.

use std::collections::HashMap;

use anyhow::Context as _;
use prost_types::FileDescriptorProto;

/// Field numbers of `google/protobuf/descriptor.proto`, of which paths are made.
pub(crate) mod part {
    pub(crate) const FILE_PACKAGE: i32 = 2;
    pub(crate) const FILE_MESSAGE: i32 = 4;
    pub(crate) const FILE_ENUM: i32 = 5;
    pub(crate) const FILE_SERVICE: i32 = 6;
    pub(crate) const MESSAGE_FIELD: i32 = 2;
    pub(crate) const MESSAGE_MESSAGE: i32 = 3;
    pub(crate) const MESSAGE_ENUM: i32 = 4;
    pub(crate) const MESSAGE_ONEOF: i32 = 8;
    pub(crate) const ENUM_VALUE: i32 = 2;
    pub(crate) const SERVICE_METHOD: i32 = 2;
}

/// Where something stands in a file: pairs of a field number and an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path(Vec<i32>);

impl Path {
    /// The `idx`th of `part` of the file.
    pub(crate) fn of(part: i32, idx: usize) -> anyhow::Result<Self> {
        Self::default().join(part, idx)
    }

    /// The `idx`th of `part` in here.
    pub(crate) fn join(&self, part: i32, idx: usize) -> anyhow::Result<Self> {
        let idx = i32::try_from(idx).context("a file has fewer parts")?;
        Ok(Self(self.0.iter().copied().chain([part, idx]).collect()))
    }
}

/// The comments of one file.
#[derive(Debug)]
pub(crate) struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    /// Returns those of `file`.
    pub(crate) fn new(file: &FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.filter_map(|location| {
            let comment = unindented(location.leading_comments.as_deref()?);
            (!comment.is_empty()).then(|| (location.path.clone(), comment))
        });
        Self(comments.collect())
    }

    /// The comment above the file's `package`.
    pub(crate) fn package(&self, name: &str) -> anyhow::Result<&str> {
        self.find(&[part::FILE_PACKAGE], name)
    }

    /// The comment above what stands at `path` and is called `name`, in lines.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn above(&self, path: &Path, name: &str) -> anyhow::Result<&str> {
        self.find(&path.0, name)
    }

    fn find(&self, path: &[i32], name: &str) -> anyhow::Result<&str> {
        self.0.get(path).map(String::as_str).with_context(|| format!("{name} has no comment"))
    }
}

fn unindented(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use prost_types::SourceCodeInfo;
    use prost_types::source_code_info::Location;

    use super::*;

    #[test]
    fn a_comment_is_found_by_its_path_and_missed_by_name() {
        let location = |path: &[i32], comment: &str| Location {
            path: path.to_vec(),
            leading_comments: Some(comment.to_owned()),
            ..Location::default()
        };
        let info =
            SourceCodeInfo { location: vec![location(&[4, 1, 2, 0], " One.\n\n  Two.\n"), location(&[4, 1], "\n")] };
        let comments = Comments::new(&FileDescriptorProto { source_code_info: Some(info), ..Default::default() });
        let message = Path::of(part::FILE_MESSAGE, 1).expect("a path");
        let field = message.join(part::MESSAGE_FIELD, 0).expect("a path");
        assert_eq!(comments.above(&field, "M.f").expect("a comment"), "One.\n\n Two.");
        assert_eq!(comments.above(&message, "M").map_err(|e| e.to_string()), Err("M has no comment".to_owned()));
    }
}
