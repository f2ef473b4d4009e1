//! Acting as someone else: the `Impersonate-*` headers (k8s.io/apiserver `pkg/endpoints/filters/impersonation.go`).
//! Pure. Each name that is taken on is authorized on its own, as verb `impersonate`.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use remora_http::User;
use remora_model::Status;
use remora_rules::rbac::service_account;

use super::authz::{self, ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, UNAUTHENTICATED};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Who the request wants to be; none if it says nothing.
///
/// # Errors
/// 403 if `user` may not be that; 400 for headers that name no user.
pub fn impersonated(authorizer: &Authorizer, user: &User, headers: &HeaderMap) -> Result<Option<User>, Status> {
    let first = |name: &str| texts(headers, name).map(|values| values.into_iter().next());
    let (name, uid, groups) = (first(USER)?, first(UID)?, texts(headers, GROUP)?);
    let extras = || headers.keys().filter_map(|k| k.as_str().strip_prefix(EXTRA));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        if groups.is_empty() && uid.is_none() && extras().next().is_none() {
            return Ok(None);
        }
        let message = format!("requested {groups:?} without impersonating a user");
        return Err(Status::bad_request(message));
    };
    let mut wanted = User { uid, ..User::new(&name, groups) };
    for key in extras() {
        let values = texts(headers, &format!("{EXTRA}{key}"))?;
        wanted.extra.entry(extra_key(key)).or_default().extend(values);
    }
    check(authorizer, user, &wanted)?;
    add_implied_groups(&mut wanted);
    Ok(Some(wanted))
}

/// Keys hold what headers cannot, in percent signs; one that is not meant so counts as it is (upstream: `unescapeExtraKey`).
fn extra_key(name: &str) -> String {
    let is_hex = |part: &str| part.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !name.split('%').skip(1).all(is_hex) {
        return name.to_owned();
    }
    percent_decode_str(name).decode_utf8().map_or_else(|_| name.to_owned(), |key| key.into_owned())
}

/// All values of a header. One that cannot be read must not count as none: the request would be its sender's own.
fn texts(headers: &HeaderMap, name: &str) -> Result<Vec<String>, Status> {
    let read = |value: &http::HeaderValue| std::str::from_utf8(value.as_bytes()).map(str::to_owned);
    let values: Result<Vec<String>, _> = headers.get_all(name).iter().map(read).collect();
    values.map_err(|_| Status::bad_request(format!("the header {name} is not UTF-8")))
}

/// A service account's groups, and that it is authenticated.
fn add_implied_groups(user: &mut User) {
    if let (true, Some((namespace, _))) = (user.groups.is_empty(), service_account(&user.name)) {
        let namespace = format!("system:serviceaccounts:{namespace}");
        user.groups.extend(["system:serviceaccounts".to_owned(), namespace]);
    }
    let implied = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.groups.iter().any(|g| g == implied) {
        user.groups.push(implied.to_owned());
    }
}

fn check(authorizer: &Authorizer, user: &User, wanted: &User) -> Result<(), Status> {
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let what = Attributes::Resource { verb: "impersonate", group, resource, subresource, namespace, name };
        let decision = authorizer.decide(user, &what);
        if decision.allowed { Ok(()) } else { Err(authz::forbidden(user, &what, &decision.reason)) }
    };
    const ABOUT_USERS: &str = "authentication.k8s.io";
    match service_account(&wanted.name) {
        Some((namespace, account)) => may("", "serviceaccounts", "", namespace, account)?,
        None => may("", "users", "", "", &wanted.name)?,
    }
    for group in &wanted.groups {
        may("", "groups", "", "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(ABOUT_USERS, "userextras", key, "", value)?;
        }
    }
    wanted.uid.as_deref().map_or(Ok(()), |uid| may(ABOUT_USERS, "uids", "", "", uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::authz::MASTERS;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_never_passed_over() {
        let (authorizer, admin) = (Authorizer::default(), User::new("a", [MASTERS, AUTHENTICATED]));
        for name in [USER, GROUP, UID, "impersonate-extra-x"] {
            let with = |bytes: &[u8]| {
                let mut map = headers(&[("impersonate-user", "jane")]);
                map.insert(name, http::HeaderValue::from_bytes(bytes).unwrap());
                impersonated(&authorizer, &admin, &map)
            };
            assert_eq!(with(b"j\xfcrgen").unwrap_err().code, 400, "{name}");
            assert!(with("jürgen".as_bytes()).is_ok(), "{name}");
        }
        let named = headers(&[("impersonate-user", "system:serviceaccount:a:b:c")]);
        assert_eq!(
            impersonated(&authorizer, &admin, &named).unwrap().unwrap().groups,
            [AUTHENTICATED],
            "that is a user"
        );
    }

    #[test]
    fn keys_of_extra_fields_are_read_from_percent_signs() {
        for (name, expected) in [
            ("scopes", "scopes"),
            ("authentication.kubernetes.io%2fpod-name", "authentication.kubernetes.io/pod-name"),
            ("example.com%2fabc", "example.com/abc"),
            ("a%zz", "a%zz"),
            ("a%2f%2", "a%2f%2"),
            ("a%ff", "a%ff"),
        ] {
            assert_eq!(extra_key(name), expected, "{name}");
        }
        let (authorizer, admin) = (Authorizer::default(), User::new("a", [MASTERS, AUTHENTICATED]));
        let as_jane = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-extra-a%2fb", "1"),
            ("impersonate-extra-a%2Fb", "2"),
        ]);
        let jane = impersonated(&authorizer, &admin, &as_jane).unwrap().unwrap();
        assert_eq!(jane.extra["a/b"], ["1", "2"]);
    }

    #[test]
    fn an_admin_may_be_anyone_and_others_only_themselves() {
        let authorizer = Authorizer::default();
        let as_user = |user: &User, headers: &HeaderMap| impersonated(&authorizer, user, headers);
        let admin = User::new("a", [MASTERS, AUTHENTICATED]);
        let jane = User::new("jane", [AUTHENTICATED]);
        let as_dev = headers(&[("impersonate-user", "jane"), ("impersonate-group", "dev")]);
        let wanted = as_user(&admin, &as_dev).unwrap().unwrap();
        assert_eq!((wanted.name.as_str(), wanted.groups), ("jane", vec!["dev".to_owned(), AUTHENTICATED.to_owned()]));
        assert_eq!(as_user(&jane, &as_dev).unwrap_err().code, 403);
        assert_eq!(as_user(&jane, &HeaderMap::new()).unwrap(), None);
        let nameless = headers(&[("impersonate-group", "dev")]);
        assert_eq!(as_user(&admin, &nameless).unwrap_err().code, 400);
        let account = headers(&[("impersonate-user", "system:serviceaccount:a:b")]);
        let groups = as_user(&admin, &account).unwrap().unwrap().groups;
        assert_eq!(groups, ["system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED]);
    }
}
