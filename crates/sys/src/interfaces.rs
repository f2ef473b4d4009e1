//! What the interfaces of the calling thread's network namespace have carried.

use std::fs;

use crate::Result;
use crate::error::failed;

/// One interface's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// `eth0`
    pub name: String,
    /// Bytes that came.
    pub received: u64,
    /// What could not be received.
    pub receive_errors: u64,
    /// Bytes that went.
    pub sent: u64,
    /// What could not be sent.
    pub send_errors: u64,
}

/// All of them but loopback. For another namespace: [`crate::namespace::run_in`].
///
/// # Errors
/// The kernel's file cannot be read.
pub fn interfaces() -> Result<Vec<InterfaceCounters>> {
    // A process's own file would show the namespace of its first thread.
    const FILE: &str = "/proc/thread-self/net/dev";
    Ok(parse(&fs::read_to_string(FILE).map_err(failed("read", FILE))?))
}

/// The interface that leads out by IPv4; none without a default route.
///
/// # Errors
/// As [`interfaces`].
pub fn default_interface() -> Result<Option<String>> {
    const FILE: &str = "/proc/thread-self/net/route";
    Ok(default_of(&fs::read_to_string(FILE).map_err(failed("read", FILE))?))
}

/// Two lines of heads; then a name and sixteen numbers, eight of what came and eight of what went (proc_pid_net(5)).
fn parse(text: &str) -> Vec<InterfaceCounters> {
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    let read = lines.filter_map(|(name, numbers)| {
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
        Some(InterfaceCounters {
            name: name.trim().to_owned(),
            received: *numbers.first()?,
            receive_errors: *numbers.get(2)?,
            sent: *numbers.get(8)?,
            send_errors: *numbers.get(10)?,
        })
    });
    read.filter(|interface| interface.name != "lo").collect()
}

/// One line of heads; then name, destination, …, mask in hexadecimal digits.
fn default_of(text: &str) -> Option<String> {
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| fields[0].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_kernels_table() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
             eth0: 1234       2    3    0    0     0          0         0     5678       4    5    0    0     0       0          0\n\
             broken: 1 2\n";
        let eth0 =
            InterfaceCounters { name: "eth0".into(), received: 1234, receive_errors: 3, sent: 5678, send_errors: 5 };
        assert_eq!(parse(text), [eth0]);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn the_default_route_names_its_interface() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let route = "eth1\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\neth0\t00000000\t0158580A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_of(&format!("{head}{route}")).as_deref(), Some("eth0"));
        assert_eq!(default_of(head), None);
    }
}
