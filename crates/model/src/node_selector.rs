//! What a requirement of a node selector means (core/v1 `NodeSelectorRequirement`): of pods for their nodes, and of volumes.

/// Whether a label or field that has this value, or none, is as required.
pub fn holds(operator: &str, values: &[impl AsRef<str>], is: Option<&str>) -> bool {
    let is_listed = || is.is_some_and(|is| values.iter().any(|value| value.as_ref() == is));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let compared = || number(is).zip(number(values.first().map(AsRef::as_ref)));
    match operator {
        "In" => is_listed(),
        "NotIn" => !is_listed(),
        "Exists" => is.is_some(),
        "DoesNotExist" => is.is_none(),
        "Gt" => compared().is_some_and(|(is, bound)| is > bound),
        "Lt" => compared().is_some_and(|(is, bound)| is < bound),
        _ => false,
    }
}
