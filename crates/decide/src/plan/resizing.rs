//! The steps that give running containers what was allocated to them.

use crate::observed::Observed;
use crate::resize::{Amounts, ResizeStep, pod_amounts};
use crate::spec::{ContainerSpec, Desired, containers};

/// What is to be done now, and whether the pod must grow before anything new is started in it.
#[derive(Debug, Default)]
pub(super) struct Resizing {
    pub(super) steps: Vec<ResizeStep>,
    pub(super) pod_must_grow: bool,
}

/// The pod first grows to whatever is more, what it has or is to have; then those containers that shrink are seen to, then the others; at last
/// the pod has what it is to have, unless a container stands in it that must be restarted before it fits.
pub(super) fn resizing(desired: &Desired<'_>, observed: &Observed) -> Resizing {
    let target = pod_amounts(desired.pod).of_cgroup();
    let had = observed.resize.pod.unwrap_or(target).of_cgroup();
    let widest = had.at_least(target);
    let pod_must_grow = widest != had;
    let mut steps: Vec<ResizeStep> = pod_must_grow.then_some(ResizeStep::Pod(widest)).into_iter().collect();
    let behind: Vec<ContainerSpec<'_>> =
        containers(desired.pod).filter(|spec| observed.to_resize(spec).is_some()).collect();
    let (restarted, in_place): (Vec<_>, Vec<_>) =
        behind.into_iter().partition(|spec| observed.restarts_to_resize(spec));
    let mut each: Vec<(bool, ResizeStep)> = in_place.iter().filter_map(|spec| step(observed, spec)).collect();
    each.sort_by_key(|(shrinks, _)| !shrinks);
    steps.extend(each.into_iter().map(|(_, step)| step));
    if widest != target && restarted.is_empty() {
        steps.push(ResizeStep::Pod(target));
    }
    Resizing { steps, pod_must_grow }
}

/// Of one container, and whether it gives anything back.
fn step(observed: &Observed, spec: &ContainerSpec<'_>) -> Option<(bool, ResizeStep)> {
    let id = observed.to_resize(spec)?;
    let resources = observed.resize.allocated.get(spec.name)?;
    let had = observed.resize.actual(spec.name, id).map(Amounts::of).unwrap_or_default().of_cgroup();
    let wanted = Amounts::of(resources).of_cgroup();
    let shrinks = had.at_least(wanted) != wanted;
    let (container, id) = (spec.name.to_owned(), id.to_owned());
    Some((shrinks, ResizeStep::Container { container, id, resources: resources.clone() }))
}
