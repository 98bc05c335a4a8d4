//! Requests that are refused before they come to a handler, told as handlers tell it.

use relief_api::ApiError;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

/// Gives the refusal of a message that is too large, or is none, the form of all others.
pub(crate) fn explained<B>(mut response: Response<B>) -> Response<B> {
    let error = response.extensions().get::<Status>().and_then(unreadable);
    if let Some(error) = error {
        // The texts are such as a header can hold.
        let _ = Status::from(error).add_header(response.headers_mut());
    }
    response
}

/// What tonic says of a message that it could not read, or none for a status of another origin.
fn unreadable(status: &Status) -> Option<ApiError> {
    if !status.details().is_empty() {
        return None;
    }
    let text = status.message();
    let description = match status.code() {
        Code::OutOfRange if text.contains("message length too large") => {
            let mut numbers = text.split(|char: char| !char.is_ascii_digit()).filter(|digits| !digits.is_empty());
            let (found, limit) = (numbers.next()?, numbers.next()?);
            format!("a message of {found} bytes is over the limit of {limit}; send less at once")
        }
        Code::Internal => {
            let reason = text.strip_prefix("failed to decode Protobuf message: ")?;
            format!("not a message of this call ({reason}); it may be of another version")
        }
        _ => return None,
    };
    Some(ApiError::field("request", description))
}

#[cfg(test)]
mod tests {
    use relief_api::ErrorReason;

    use super::*;

    fn told(status: Status) -> Status {
        let response = explained(status.into_http::<()>());
        Status::from_header_map(response.headers()).expect("a refusal")
    }

    #[test]
    fn a_message_over_the_limit_is_told_with_both_numbers() {
        let text = "Error, decoded message length too large: found 70 bytes, the limit is: 64 bytes";
        let status = told(Status::out_of_range(text));
        assert_eq!(status.code(), Code::InvalidArgument);
        let error = ApiError::from_status(&status);
        assert_eq!((error.reason, error.violations[0].field.as_str()), (ErrorReason::InvalidField, "request"));
        assert!(error.message.contains("70 bytes is over the limit of 64"), "{error}");
    }

    #[test]
    fn what_is_no_message_is_the_callers_fault() {
        let status = told(Status::internal("failed to decode Protobuf message: invalid wire type"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("invalid wire type"), "{status:?}");
    }

    #[test]
    fn every_other_refusal_stays_as_it_is() {
        for status in [
            Status::from(ApiError::new(ErrorReason::Internal, "failed to decode Protobuf message: a stored one")),
            Status::unimplemented(""),
            Status::internal("the engine panicked"),
        ] {
            let (code, message) = (status.code(), status.message().to_owned());
            let told = told(status);
            assert_eq!((told.code(), told.message()), (code, message.as_str()));
        }
    }
}
