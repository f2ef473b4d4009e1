//! Started ahead: the program is there before it is known what it is to do, so that loading and linking it, a good part of a container's start, is
//! over by then.
//!
//! `remora-create await --bundle BUNDLE` finds a socket at its standard input and waits for one message: the words of its command line, separated by
//! zeros, with the descriptors of its standard streams. From there on it is as if it had been started so. If the socket ends, so does it, and has
//! touched nothing. The bundle is only there for those who look for the creators of a container by their command lines.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use remora_sys::socket::receive_with_descriptors;

use crate::error::Error;
use crate::seal;

/// The longest command line: all of its paths at their longest would be shorter.
const MAX_WORDS: usize = 64 << 10;

/// The command line: the given one, or the one that has come. `None`: none will come.
pub(crate) fn words(given: Vec<OsString>) -> Result<Option<Vec<OsString>>, Error> {
    if given.first().is_none_or(|word| word != "await") {
        return Ok(Some(given));
    }
    // This may start the program over, and is to be over too.
    seal::protect_own_binary()?;
    let mut message = vec![0; MAX_WORDS];
    let (length, streams) = receive_with_descriptors(std::io::stdin().as_fd(), &mut message)?;
    if length == 0 {
        return Ok(None);
    }
    take_streams(streams)?;
    message.truncate(length);
    Ok(Some(split(&message)))
}

/// The first of these replaces the socket.
fn take_streams(streams: Vec<OwnedFd>) -> Result<(), Error> {
    let count = streams.len();
    let [stdin, stdout, stderr]: [OwnedFd; 3] =
        streams.try_into().map_err(|_| Error::new(format!("{count} streams have come instead of three")))?;
    let replaced = rustix::stdio::dup2_stdin(&stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(&stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(&stderr));
    replaced.map_err(|errno| Error::new(format!("cannot take the streams: {errno}")))
}

fn split(message: &[u8]) -> Vec<OsString> {
    message.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_given_are_those_that_count() {
        let given = vec![OsString::from("run"), OsString::from("await")];
        assert_eq!(words(given.clone()).unwrap(), Some(given));
        assert_eq!(words(Vec::new()).unwrap(), Some(Vec::new()));
        assert_eq!(split(b"run\0--bundle\0/a b\0c"), ["run", "--bundle", "/a b", "c"]);
    }

    #[test]
    fn fewer_than_three_streams_are_refused() {
        let error = take_streams(Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "0 streams have come instead of three");
    }
}
