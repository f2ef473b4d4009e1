//! NAT for what leaves, and for what goes to the API server's service: one nftables table of our own, made and removed as a whole by `nft`.
//!
//! `nft` is called once when the network is prepared and once at teardown, never per sandbox. The `ip_forward` sysctl of
//! the node's namespace is switched on, and switched back at teardown if it was off. A firewall of others that drops
//! forwarded packets (Docker's sets such a policy) still drops them: no table of ours can overrule it.

use std::io;
use std::path::Path;
use std::process::Stdio;

use remora_sys::namespace;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Bridge;
use crate::{Error, Subnet};

const IP_FORWARD: &str = "net.ipv4.ip_forward";

/// Text for `nft -f -` that replaces the table: `add` first, because deleting what is not there fails.
pub(crate) fn ruleset(table: &str, subnet: Subnet, api: Option<&str>) -> String {
    let prerouting = api.map(|rule| {
        format!("\tchain prerouting {{\n\t\ttype nat hook prerouting priority -100; policy accept;\n\t\t{rule}\n\t}}\n")
    });
    let prerouting = prerouting.unwrap_or_default();
    format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         {prerouting}\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority 100; policy accept;\n\
         \t\tip saddr {subnet} ip daddr != {subnet} ip daddr != 224.0.0.0/4 counter masquerade\n\
         \t}}\n\
         }}\n"
    )
}

fn removal(table: &str) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}

impl Bridge {
    /// Switches forwarding and NAT on.
    pub(super) async fn make_nat(&self, subnet: Subnet) -> Result<(), Error> {
        namespace::set_sysctl(IP_FORWARD, "1").map_err(|source| Error::Sysctl { name: IP_FORWARD, source })?;
        let api = self.config.api.map(|route| route.rule(self.names.bridge()));
        nft(&self.config.nft, &ruleset(self.names.table(), subnet, api.as_deref())).await
    }

    /// Removes the table if it may be there, and switches forwarding off if it was off before.
    pub(super) async fn undo_nat(&self, had_bridge: bool) -> Result<(), Error> {
        let network = self.records.network()?;
        if network.as_ref().map_or(had_bridge, |network| network.nat) {
            nft(&self.config.nft, &removal(self.names.table())).await?;
        }
        if network.is_some_and(|network| !network.forwarded_before) {
            namespace::set_sysctl(IP_FORWARD, "0").map_err(|source| Error::Sysctl { name: IP_FORWARD, source })?;
        }
        Ok(())
    }
}

/// Whether packets are forwarded now, in the calling thread's namespace.
pub(crate) fn forwards() -> Result<bool, Error> {
    let path = Path::new("/proc/sys/net/ipv4/ip_forward");
    let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(text.trim() != "0")
}

async fn nft(program: &Path, ruleset: &str) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Nft { message: format!("cannot run {}: {error}", program.display()) };
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Nft { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_in_one_transaction_and_holds_one_rule() {
        let subnet = "10.244.0.0/24".parse().unwrap();
        let text = ruleset("remora-x", subnet, None);
        assert!(text.starts_with("add table ip remora-x\ndelete table ip remora-x\ntable ip remora-x {"), "{text}");
        assert!(text.contains("ip saddr 10.244.0.0/24 ip daddr != 10.244.0.0/24 ip daddr != 224.0.0.0/4"), "{text}");
        assert_eq!((text.matches("masquerade").count(), text.contains("prerouting")), (1, false));
        let text = ruleset("remora-x", subnet, Some("RULE"));
        assert!(
            text.contains("hook prerouting priority -100; policy accept;\n\t\tRULE\n\t}\n\tchain postrouting"),
            "{text}"
        );
    }
}
