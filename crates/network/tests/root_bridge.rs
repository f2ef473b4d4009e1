//! The built-in network on a real kernel, each test in a network namespace of its own. Needs root.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod contract;
mod machine;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use machine::{Machine, need_root};
use remora_network::{ApiRoute, Attachment, Bridge, BridgeConfig, Error, Network};

fn config(machine: &Machine, subnet: Option<&str>) -> BridgeConfig {
    BridgeConfig {
        node: "test".into(),
        state: machine.folder().join("state"),
        subnet: subnet.map(|text| text.parse().unwrap()),
        api: None,
        nft: "nft".into(),
    }
}

/// What the sandbox says when it connects: the address that it is seen under. None if it cannot connect.
fn seen_as(machine: &Machine, from: &str, listener_in: Option<&str>, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let bind = move || TcpListener::bind((address, 0)).unwrap();
    let listener = match listener_in {
        Some(name) => machine.inside(name, bind),
        None => bind(),
    };
    let target: SocketAddr = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(move || listener.accept().map(|(_, peer)| peer.ip()));
        let connected = machine.inside(from, || TcpStream::connect_timeout(&target, Duration::from_secs(2)));
        let Ok(mut stream) = connected else {
            // The listener is let go by a connection from where it is.
            let poke = || TcpStream::connect(target).map(drop);
            let _ = listener_in.map_or_else(poke, |name| machine.inside(name, poke));
            return None;
        };
        let _ = stream.read(&mut [0]);
        match server.join().unwrap().unwrap() {
            std::net::IpAddr::V4(ip) => Some(ip),
            std::net::IpAddr::V6(_) => None,
        }
    })
}

fn attach_request(machine: &Machine, id: &str) -> remora_network::AttachRequest {
    contract::request(id, machine.namespace(id))
}

fn ip(attachment: &Attachment) -> Ipv4Addr {
    attachment.ip().unwrap()
}

#[test]
fn the_bridge_keeps_the_contract_and_teardown_leaves_nothing() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let before = (machine.ip(&["-o", "link"]), std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap());
        let network = Bridge::open(config(&machine, Some("10.9.8.0/29"))).await.unwrap();
        contract::check(&network, &|id| machine.namespace(id)).await;
        let after = (machine.ip(&["-o", "link"]), std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap());
        assert_eq!(after, before);
        assert_eq!(machine.nft_ruleset(), "");
        assert_eq!(std::fs::read_dir(machine.folder().join("state")).unwrap().count(), 0);
    });
}

#[test]
fn sandboxes_reach_each_other_the_node_and_beyond() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let (node, outside) = machine.connect_outside("outside");
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        let a = network.attach(attach_request(&machine, "a")).await.unwrap();
        let b = network.attach(attach_request(&machine, "b")).await.unwrap();
        let status = network.status().await;
        assert!(status.ready && status.reason.is_empty(), "{status:?}");
        assert_eq!(seen_as(&machine, "a", Some("b"), ip(&b)), Some(ip(&a)), "pod to pod, no NAT");
        assert_eq!(seen_as(&machine, "b", Some("a"), ip(&a)), Some(ip(&b)));
        assert_eq!(seen_as(&machine, "a", None, a.ips[0].gateway), Some(ip(&a)), "pod to node");
        assert_eq!(seen_as(&machine, "a", Some("outside"), outside), Some(node), "beyond, as the node");
        let loopback = seen_as(&machine, "a", Some("a"), Ipv4Addr::LOCALHOST);
        assert_eq!(loopback, Some(Ipv4Addr::LOCALHOST), "lo is up");
        network.teardown().await.unwrap();
    });
}

#[test]
fn sandboxes_reach_the_api_server_by_its_service() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let service: SocketAddrV4 = "10.96.0.1:443".parse().unwrap();
        let server = TcpListener::bind("0.0.0.0:0").unwrap();
        let api = ApiRoute::to(service, server.local_addr().unwrap());
        let network = Bridge::open(BridgeConfig { api, ..config(&machine, None) }).await.unwrap();
        let a = network.attach(attach_request(&machine, "a")).await.unwrap();
        let connect = || TcpStream::connect_timeout(&service.into(), Duration::from_secs(5)).map(drop);
        machine.inside("a", connect).unwrap();
        let (_, peer) = server.accept().unwrap();
        assert_eq!(peer.ip(), ip(&a), "as itself");
        let other = SocketAddr::from((*service.ip(), 80));
        let refused = machine.inside("a", || TcpStream::connect_timeout(&other, Duration::from_millis(200)).map(drop));
        assert!(refused.is_err(), "no other port leads there");
        network.teardown().await.unwrap();
        assert_eq!(machine.nft_ruleset(), "");
    });
}

#[test]
fn a_new_run_finds_what_a_killed_one_left() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let first = Bridge::open(config(&machine, None)).await.unwrap();
        let a = network_attach(&first, &machine, "a").await;
        let b = network_attach(&first, &machine, "b").await;
        drop(first);
        let second = Bridge::open(config(&machine, None)).await.unwrap();
        second.check("a").await.unwrap();
        assert_eq!(second.attach(attach_request(&machine, "a")).await.unwrap(), a);
        let c = network_attach(&second, &machine, "c").await;
        assert!(u32::from(ip(&c)) > u32::from(ip(&b)), "no address is given twice, and a free one rests");
        second.gc(&BTreeMap::from([("a".to_owned(), a.clone())])).await.unwrap();
        second.check("a").await.unwrap();
        assert_eq!(machine.ip(&["-o", "link", "show", "type", "veth"]).lines().count(), 1);
        second.teardown().await.unwrap();
    });
}

async fn network_attach(network: &Bridge, machine: &Machine, id: &str) -> Attachment {
    network.attach(attach_request(machine, id)).await.unwrap()
}

#[test]
fn a_sandbox_that_lost_a_part_is_told_and_mended() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        let a = network_attach(&network, &machine, "a").await;
        let veth = a.interfaces[1].name.clone();
        machine.ip(&["link", "del", &veth]);
        assert!(matches!(network.check("a").await, Err(Error::Missing { .. })));
        assert_eq!(network.attach(attach_request(&machine, "a")).await.unwrap(), a);
        network.check("a").await.unwrap();
        machine.unpin("a");
        network.detach("a").await.unwrap();
        network.teardown().await.unwrap();
    });
}

#[test]
fn a_lost_bridge_or_state_folder_is_made_again() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        let a = network_attach(&network, &machine, "a").await;
        let bridge = a.interfaces[0].name.clone();
        machine.ip(&["link", "del", &bridge]);
        network_attach(&network, &machine, "b").await;
        assert!(matches!(network.check("a").await, Err(Error::Missing { .. })));
        drop(network);
        std::fs::remove_dir_all(machine.folder().join("state")).unwrap();
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        network_attach(&network, &machine, "c").await;
        drop(network);
        std::fs::remove_dir_all(machine.folder().join("state")).unwrap();
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        network.teardown().await.unwrap();
        assert_eq!(
            (machine.nft_ruleset().as_str(), machine.ip(&["link", "show", "type", "bridge"]).as_str()),
            ("", "")
        );
    });
}

#[test]
fn damaged_records_are_set_aside_and_what_they_said_is_taken_up_again() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let state = machine.folder().join("state");
        for (files, damage) in [
            (&["network.json"][..], "{"),
            (&["sandboxes/s-a.json"], ""),
            (&["network.json", "sandboxes/s-a.json"], "{\"sandbox\": 7}"),
        ] {
            let network = Bridge::open(config(&machine, Some("10.3.0.0/24"))).await.unwrap();
            let mut known = BTreeMap::new();
            for id in ["a", "b"] {
                known.insert(id.to_owned(), network_attach(&network, &machine, id).await);
            }
            network_attach(&network, &machine, "gone").await;
            drop(network);
            for file in files {
                std::fs::write(state.join(file), damage).unwrap();
            }
            let network = Bridge::open(config(&machine, None)).await.unwrap();
            network.gc(&known).await.unwrap();
            assert!(!state.join("sandboxes/s-gone.json").exists());
            let evidence = state.join("damaged").join(Path::new(files[0]).file_name().unwrap());
            assert_eq!(std::fs::read_to_string(evidence).unwrap(), damage);
            for id in known.keys() {
                network.check(id).await.unwrap();
            }
            let c = network_attach(&network, &machine, "c").await;
            assert!(
                c.ips[0].gateway == Ipv4Addr::new(10, 3, 0, 1) && known.values().all(|k| k.ip() != c.ip()),
                "{c:?}"
            );
            network.teardown().await.unwrap();
            assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
        }
    });
}

#[test]
fn another_subnet_is_taken_only_when_nobody_uses_the_old_one() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let network = Bridge::open(config(&machine, Some("10.1.0.0/24"))).await.unwrap();
        network_attach(&network, &machine, "a").await;
        drop(network);
        let network = Bridge::open(config(&machine, Some("10.2.0.0/24"))).await.unwrap();
        let error = network.attach(attach_request(&machine, "b")).await.unwrap_err().to_string();
        assert_eq!(error, "subnet \"10.2.0.0/24\": 1 sandboxes still have addresses of 10.1.0.0/24; remove them first");
        network.detach("a").await.unwrap();
        let b = network_attach(&network, &machine, "b").await;
        assert_eq!(ip(&b), Ipv4Addr::new(10, 2, 0, 2));
        network.teardown().await.unwrap();
    });
}

#[test]
fn what_cannot_work_is_said_and_leaves_nothing() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let taken = config(&machine, Some("203.0.113.0/24"));
        machine.connect_outside("outside");
        let network = Bridge::open(taken).await.unwrap();
        let error = network.attach(attach_request(&machine, "a")).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "subnet 203.0.113.0/24 overlaps the route to 203.0.113.0/30 of interface uplink; choose another one"
        );
        assert_eq!(network.status().await.reason, "NetworkPluginNotReady");

        let network = Bridge::open(BridgeConfig { nft: "/no/nft".into(), ..config(&machine, None) }).await.unwrap();
        let missing = contract::request("x", machine.folder().join("no-such-namespace"));
        assert!(matches!(network.attach(missing).await, Err(Error::Namespace { .. })));
        assert!(matches!(network.check("x").await, Err(Error::NotAttached { .. })));
        let file = machine.folder().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(network.attach(contract::request("x", file)).await, Err(Error::Namespace { .. })));
        let status = network.status().await;
        assert!(status.ready && status.reason == "NoOutboundNat", "{status:?}");
        assert!(status.message.contains("cannot run /no/nft"), "{status:?}");
        network_attach(&network, &machine, "a").await;
        network.teardown().await.unwrap();
        assert!(Path::new(&machine.folder()).exists());
    });
}

#[test]
fn many_sandboxes_can_be_attached_at_once() {
    let Some(()) = need_root() else { return };
    Machine::run(|machine| async move {
        let network = Bridge::open(config(&machine, None)).await.unwrap();
        let requests: Vec<_> = (0..20).map(|index| attach_request(&machine, &format!("s{index}"))).collect();
        let attached = futures::future::join_all(requests.into_iter().map(|request| network.attach(request))).await;
        let mut addresses: Vec<_> = attached.into_iter().map(|result| ip(&result.unwrap())).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
        network.teardown().await.unwrap();
    });
}
