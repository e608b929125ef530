//! Users by name.

use super::error::Error;
use super::host::Host;

/// The number of a user, given by name or number. The system's `id` knows those of every directory service.
pub(super) fn number(host: &Host, user: &str) -> Result<u32, Error> {
    let unknown = |reason: String| Error::NoUser {
        user: user.to_owned(),
        reason,
    };
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let ran = host
        .system()
        .run("id", &["-u".as_ref(), "--".as_ref(), user.as_ref()])
        .map_err(|error| unknown(format!("id cannot be run: {error}")))?;
    match (ran.code, ran.output.trim().parse()) {
        (Some(0), Ok(number)) => Ok(number),
        _ => Err(unknown(ran.complaint)),
    }
}
