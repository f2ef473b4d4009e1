//! Probes and hooks: what they do, and their numbers.

use k8s_openapi::api::core::v1::{
    ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::{not_negative, one_of, port};
use crate::metadata::names;
use crate::metadata::validation::invalid;

/// What a probe or hook may do; exactly one.
#[derive(Default)]
struct Handler<'h> {
    exec: Option<&'h ExecAction>,
    http_get: Option<&'h HTTPGetAction>,
    tcp_socket: Option<&'h TCPSocketAction>,
    grpc: Option<&'h GRPCAction>,
    sleep: Option<&'h SleepAction>,
}

fn validate_handler(handler: &Handler<'_>, grace: i64, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut count = 0;
    let mut add = |field: &str, found: Option<FieldErrors>| {
        let Some(found) = found else { return };
        count += 1;
        if count > 1 {
            errors.push(FieldError::forbidden(&path.child(field), "may not specify more than 1 handler type"));
        } else {
            errors.extend(found);
        }
    };
    add("exec", handler.exec.map(|a| validate_exec(a, &path.child("exec"))));
    add("httpGet", handler.http_get.map(|a| validate_http(a, &path.child("httpGet"))));
    add("tcpSocket", handler.tcp_socket.map(|a| validate_port(&a.port, &path.child("tcpSocket").child("port"))));
    add("grpc", handler.grpc.map(|a| port::validate_number(&path.child("grpc").child("port"), a.port)));
    add("sleep", handler.sleep.map(|a| validate_sleep(a, grace, &path.child("sleep"))));
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

fn validate_exec(action: &ExecAction, path: &Path<'_>) -> FieldErrors {
    let empty = action.command.as_deref().unwrap_or_default().is_empty();
    if empty { vec![FieldError::required(&path.child("command"), "")] } else { Vec::new() }
}

fn validate_http(action: &HTTPGetAction, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if action.path.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    }
    errors.extend(validate_port(&action.port, &path.child("port")));
    errors.extend(one_of(&path.child("scheme"), action.scheme.as_deref(), &["HTTP", "HTTPS"]));
    for header in action.http_headers.iter().flatten() {
        errors.extend(invalid(&path.child("httpHeaders"), &header.name, header_name));
    }
    errors
}

fn header_name(name: &str) -> Vec<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(fine) {
        return Vec::new();
    }
    vec!["a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".to_owned()]
}

fn validate_port(port: &IntOrString, path: &Path<'_>) -> FieldErrors {
    match port {
        IntOrString::Int(number) => port::validate_number(path, *number),
        IntOrString::String(name) => invalid(path, name, names::port_name),
    }
}

fn validate_sleep(action: &SleepAction, grace: i64, path: &Path<'_>) -> FieldErrors {
    if (0..=grace).contains(&action.seconds) {
        return Vec::new();
    }
    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    vec![FieldError::invalid(path, action.seconds, detail)]
}

pub(super) fn validate_lifecycle(lifecycle: &Lifecycle, grace: i64, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(hook) = hook {
            errors.extend(validate_handler(&handler_of_hook(hook), grace, &path.child(field)));
        }
    }
    errors
}

fn handler_of_hook(hook: &LifecycleHandler) -> Handler<'_> {
    Handler {
        exec: hook.exec.as_ref(),
        http_get: hook.http_get.as_ref(),
        tcp_socket: hook.tcp_socket.as_ref(),
        grpc: None,
        sleep: hook.sleep.as_ref(),
    }
}

fn validate_probe(probe: &Probe, path: &Path<'_>) -> FieldErrors {
    let handler = Handler {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    let mut errors = validate_handler(&handler, 0, path);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        errors.extend(not_negative(&path.child(field), value.map(i64::from)));
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|s| *s <= 0) {
        let place = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&place, seconds, "must be greater than 0"));
    }
    errors
}

/// Liveness and startup probes: one success is enough.
pub(super) fn validate_liveness(probe: Option<&Probe>, path: &Path<'_>) -> FieldErrors {
    let Some(probe) = probe else { return FieldErrors::new() };
    let mut errors = validate_probe(probe, path);
    if let Some(count) = probe.success_threshold.filter(|n| *n != 1) {
        errors.push(FieldError::invalid(&path.child("successThreshold"), count, "must be 1"));
    }
    errors
}

pub(super) fn validate_readiness(probe: Option<&Probe>, path: &Path<'_>) -> FieldErrors {
    let Some(probe) = probe else { return FieldErrors::new() };
    let mut errors = validate_probe(probe, path);
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let place = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&place, seconds, "must not be set for readinessProbes"));
    }
    errors
}
