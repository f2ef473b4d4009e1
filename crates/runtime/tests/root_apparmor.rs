//! AppArmor: what containers, and what is executed in them, are under; and what is refused. Most of it needs a kernel that has it:
//! `cargo xtask vm test -c runtime --test root_apparmor`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; one that is skipped says so")]

mod world;

use remora_cri::{
    Capability, ContainerConfig, CreateContainerRequest, LinuxContainerSecurityContext, ProfileType, RuntimeService,
    SecurityProfile, StopContainerRequest,
};
use remora_sys::apparmor;
use world::{World, on_each};

/// Everything may be done but one thing.
const PROFILE: &str = "profile remora-test flags=(attach_disconnected,mediate_deleted) {
  capability, file, network, ptrace, signal, umount,
  deny /tmp/forbidden w,
}
";

fn is_on(name: &str) -> bool {
    if !apparmor::is_enabled() {
        eprintln!("SKIPPED: {name} needs AppArmor: cargo xtask vm test");
    }
    apparmor::is_enabled()
}

fn profile(profile_type: ProfileType, name: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: profile_type as i32, localhost_ref: name.to_owned() })
}

impl World {
    fn under(
        &self,
        name: &str,
        profile: Option<SecurityProfile>,
        change: impl Fn(&mut LinuxContainerSecurityContext),
    ) -> ContainerConfig {
        let mut config = self.container(name, &["sh", "-c", "cat /proc/self/attr/current && exec sleep 1000"]);
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.apparmor = profile;
        change(security);
        config
    }

    async fn refused(&self, sandbox: &str, config: ContainerConfig) -> String {
        let config = Some(config);
        let request = CreateContainerRequest { pod_sandbox_id: sandbox.into(), config, sandbox_config: None };
        self.runtime.create_container(request).await.unwrap_err().message
    }
}

#[test]
fn containers_and_what_is_executed_in_them_are_under_the_profile_that_was_asked_for() {
    on_each("profiles", |world| async move {
        if !is_on("profiles") {
            return world;
        }
        apparmor::load(&apparmor::parser().unwrap(), PROFILE).unwrap();
        let sandbox = world.sandbox("web").await;
        let cases = [
            ("named", profile(ProfileType::Localhost, "remora-test"), false, "remora-test (enforce)"),
            ("unsaid", None, false, "remora-default (enforce)"),
            ("default", profile(ProfileType::RuntimeDefault, ""), false, "remora-default (enforce)"),
            ("unconfined", profile(ProfileType::Unconfined, ""), false, "unconfined"),
            ("privileged", None, true, "unconfined"),
            ("both", profile(ProfileType::Localhost, "remora-test"), true, "remora-test (enforce)"),
        ];
        for (name, asked, privileged, expected) in cases {
            let config = world.under(name, asked, |security| security.privileged = privileged);
            let id = world.start(&sandbox, config).await;
            world.until_logged("web", name, &format!("stdout F {expected}")).await;
            assert_eq!(world.exec(&id, &["cat", "/proc/self/attr/current"]).await.trim(), expected, "exec in {name}");
            let write = world.exec(&id, &["sh", "-c", "echo x > /tmp/forbidden; cat /tmp/forbidden"]).await;
            assert_eq!(write.is_empty(), expected.starts_with("remora-test"), "{name}: {write}");
            // No profile keeps the node from ending a container.
            let stop = StopContainerRequest { container_id: id.clone(), timeout: 0 };
            world.runtime.stop_container(stop).await.unwrap();
        }
        world.remove_sandbox(&sandbox).await;
        world
    });
}

#[test]
fn the_default_profile_keeps_a_root_with_all_capabilities_from_mounting() {
    on_each("the default profile", |world| async move {
        if !is_on("the default profile") {
            return world;
        }
        let sandbox = world.sandbox("web").await;
        for (name, asked, mounts) in [("kept", None, false), ("free", profile(ProfileType::Unconfined, ""), true)] {
            let config = world.under(name, asked, |security| {
                security.capabilities =
                    Some(Capability { add_capabilities: vec!["ALL".into()], ..Capability::default() });
            });
            let id = world.start(&sandbox, config).await;
            let tried = world.exec(&id, &["sh", "-c", "mount -t tmpfs none /tmp && echo mounted; true"]).await;
            assert_eq!(tried.contains("mounted"), mounts, "{name}: {tried}");
        }
        world.remove_sandbox(&sandbox).await;
        world
    });
}

#[test]
fn a_profile_that_cannot_be_had_is_refused_in_a_sentence() {
    on_each("refused profiles", |world| async move {
        let sandbox = world.sandbox("web").await;
        let named = world.under("c", profile(ProfileType::Localhost, "no-such"), |_| ());
        let said = world.refused(&sandbox, named).await;
        let expected = match apparmor::is_enabled() {
            true => "apparmor profile \"no-such\" is not loaded on this host",
            false => "apparmor is not supported by this host",
        };
        assert!(said.ends_with(expected), "{said}");
        if !apparmor::is_enabled() {
            let default = world.under("c", profile(ProfileType::RuntimeDefault, ""), |_| ());
            assert!(world.refused(&sandbox, default).await.ends_with(expected));
        }
        world.remove_sandbox(&sandbox).await;
        world
    });
}
