//! Files cut into the messages of an import.

use bytes::Bytes;

/// The most that one message of an import carries.
const MAX_CHUNK_BYTES: usize = 2 << 20;

/// Returns `content` in pieces that fit into a message each, without copying it.
pub(crate) fn chunks(mut content: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        let n_bytes = content.len().min(MAX_CHUNK_BYTES);
        (n_bytes > 0).then(|| content.split_to(n_bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_content_in_pieces_of_bounded_size() {
        let content: Bytes = (0..2 * MAX_CHUNK_BYTES + 5).map(|idx| idx as u8).collect();
        let pieces: Vec<Bytes> = chunks(content.clone()).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 5]);
        assert_eq!(pieces.concat(), content);
        assert_eq!(chunks(Bytes::new()).count(), 0);
    }
}
