//! The contract suite of `cri::RuntimeService` on this runtime, with each low-level runtime.

mod world;

use remora_runtime::contract::CHECKS;
use world::on_each;

#[test]
fn every_promise_is_kept() {
    on_each("the contract", |world| async move {
        let mut broken = Vec::new();
        for check in CHECKS {
            if let Err(what) = (check.run)(world.environment()).await {
                broken.push(format!("{}: {what}", check.name));
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        world
    });
}
