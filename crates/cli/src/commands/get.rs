//! `remora get`: the server prints the table, as for kubectl; here it is only laid out.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::output::{print_line, print_note};
use crate::resource::{self, Resource};
use crate::{ClusterArgs, CommandError, table, yaml};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Arguments of `remora get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to show: `pods`, `pods web`, `pod/web`.
    #[arg(required = true)]
    what: Vec<String>,
    /// Of all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// How to show it.
    #[arg(long, short, value_enum)]
    output: Option<Output>,
    /// Go on as objects change.
    #[arg(long, short)]
    watch: bool,
    /// No line of headers.
    #[arg(long)]
    no_headers: bool,
    /// In JSON and YAML, who manages which field.
    #[arg(long)]
    show_managed_fields: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
    Name,
    Wide,
    Yaml,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: GetArgs) -> Result<ExitCode, CommandError> {
    let cluster = Cluster::connect(cluster).await?;
    let (word, names) = resource::split(&args.what)?;
    let resource = resource::find(&cluster, &word).await?;
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let paths = paths(&resource, namespace, &names, args.selector.as_deref());
    if args.watch {
        return watch(&cluster, &args, &paths).await;
    }
    match args.output {
        None | Some(Output::Wide) => tables(&cluster, &args, &paths).await?,
        Some(output) => objects(&cluster, &args, output, &resource, &paths).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One request for all, or one for each name.
fn paths(resource: &Resource, namespace: Option<&str>, names: &[String], selector: Option<&str>) -> Vec<String> {
    let collection = resource.path(namespace);
    if names.is_empty() {
        let query = selector.map(|s| format!("?labelSelector={}", escape(s))).unwrap_or_default();
        return vec![format!("{collection}{query}")];
    }
    names.iter().map(|name| format!("{collection}/{name}")).collect()
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn request(path: &str, accept: &str) -> Result<Request<Vec<u8>>, CommandError> {
    let request = Request::get(path).header(http::header::ACCEPT, accept).body(Vec::new());
    request.map_err(|error| CommandError::usage(format_args!("{path} is no path of the API: {error}")))
}

async fn tables(cluster: &Cluster, args: &GetArgs, paths: &[String]) -> Result<(), CommandError> {
    let mut headers = Vec::new();
    let mut rows = Vec::new();
    for path in paths {
        let table: Value = cluster.client.request(request(path, TABLE)?).await?;
        let shown = Shown::new(args, &table);
        headers = shown.headers(&table);
        rows.extend(shown.rows(&table));
    }
    if rows.is_empty() {
        let place = if args.all_namespaces { String::new() } else { format!(" in {} namespace", cluster.namespace) };
        print_note(format_args!("No resources found{place}."));
        return Ok(());
    }
    table::render((!args.no_headers).then_some(&headers), &rows).iter().for_each(print_line);
    Ok(())
}

async fn watch(cluster: &Cluster, args: &GetArgs, paths: &[String]) -> Result<ExitCode, CommandError> {
    let [path] = paths else {
        return Err(CommandError::usage("watch one resource, or one object"));
    };
    let names_one = args.what.len() > 1 || args.what.iter().any(|word| word.contains('/'));
    let stream = cluster.client.request_stream(request(&watch_path(path, names_one), TABLE)?).await?;
    let mut lines = stream.lines();
    let mut printer = Printer { args, shown: None, widths: Vec::new() };
    while let Some(line) = lines.try_next().await.map_err(|error| CommandError::caused("watching", &error))? {
        let event: Value =
            serde_json::from_str(&line).map_err(|error| CommandError::caused("reading a watch event", &error))?;
        printer.print(&event)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One object is watched through its collection.
fn watch_path(path: &str, names_one: bool) -> String {
    match path.rsplit_once('/').filter(|_| names_one) {
        Some((collection, name)) => format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}"),
        None if path.contains('?') => format!("{path}&watch=1"),
        None => format!("{path}?watch=1"),
    }
}

/// Prints a watch's events. Only the first table names the columns.
struct Printer<'a> {
    args: &'a GetArgs,
    shown: Option<Shown>,
    widths: Vec<usize>,
}

impl Printer<'_> {
    fn print(&mut self, event: &Value) -> Result<(), CommandError> {
        let table = &event["object"];
        match event["type"].as_str() {
            Some("ERROR") => {
                return Err(CommandError::failed(table["message"].as_str().unwrap_or("the watch ended")));
            }
            Some("BOOKMARK") => return Ok(()),
            _ => {}
        }
        let is_first = self.shown.is_none();
        let shown = self.shown.get_or_insert_with(|| Shown::new(self.args, table));
        if is_first && !self.args.no_headers {
            let headers = shown.headers(table).iter().map(|header| header.to_uppercase()).collect();
            print_line(padded(headers, &mut self.widths));
        }
        for row in shown.rows(table) {
            print_line(padded(row, &mut self.widths));
        }
        Ok(())
    }
}

/// A line of a table whose later rows are not known yet: columns only ever grow.
fn padded(row: Vec<String>, widths: &mut Vec<usize>) -> String {
    widths.resize(widths.len().max(row.len()), 0);
    for (width, cell) in widths.iter_mut().zip(&row) {
        *width = (*width).max(cell.chars().count());
    }
    let cells: Vec<String> = row.iter().zip(widths.iter()).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join("   ").trim_end().to_owned()
}

/// Which columns of a Table are shown.
struct Shown {
    columns: Vec<usize>,
    namespace: bool,
}

impl Shown {
    fn new(args: &GetArgs, table: &Value) -> Shown {
        let wide = args.output == Some(Output::Wide);
        let definitions = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let columns = definitions.iter().enumerate().filter(|(_, c)| wide || c["priority"].as_i64().unwrap_or(0) == 0);
        Shown { columns: columns.map(|(i, _)| i).collect(), namespace: args.all_namespaces }
    }

    fn headers(&self, table: &Value) -> Vec<String> {
        let names = self.columns.iter().map(|i| text(&table["columnDefinitions"][i]["name"]));
        self.namespace.then(|| "Namespace".to_owned()).into_iter().chain(names).collect()
    }

    fn rows(&self, table: &Value) -> Vec<Vec<String>> {
        let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &Value) -> Vec<String> {
        let namespace = self.namespace.then(|| text(&row["object"]["metadata"]["namespace"]));
        namespace.into_iter().chain(self.columns.iter().map(|i| text(&row["cells"][i]))).collect()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

async fn objects(
    cluster: &Cluster,
    args: &GetArgs,
    output: Output,
    resource: &Resource,
    paths: &[String],
) -> Result<(), CommandError> {
    for (i, path) in paths.iter().enumerate() {
        let mut object: Value = cluster.client.request(request(path, "application/json")?).await?;
        if !args.show_managed_fields {
            hide_managed_fields(&mut object);
        }
        match output {
            Output::Name => names(resource, &object).iter().for_each(print_line),
            Output::Json => print_line(format_args!("{object:#}")),
            Output::Yaml | Output::Wide => {
                if i > 0 {
                    print_line("---");
                }
                print_line(yaml::render(&object));
            }
        }
    }
    Ok(())
}

/// Of an object, or of each of a list: as kubectl does since 1.21, for they are longer than all the rest.
fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(hide_managed_fields);
}

fn names(resource: &Resource, object: &Value) -> Vec<String> {
    let singular = resource.kind.to_lowercase();
    let line = |object: &Value| format!("{singular}/{}", text(&object["metadata"]["name"]));
    match object["items"].as_array() {
        Some(items) => items.iter().map(line).collect(),
        None => vec![line(object)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_are_hidden_in_objects_and_in_lists() {
        let object = |managed: bool| {
            let mut object = json!({"metadata": {"name": "web"}, "spec": {"managedFields": "somebody's own"}});
            if managed {
                object["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
            }
            object
        };
        let mut list = json!({"metadata": {"resourceVersion": "1"}, "items": [object(true), object(false)]});
        hide_managed_fields(&mut list);
        assert_eq!(list, json!({"metadata": {"resourceVersion": "1"}, "items": [object(false), object(false)]}));
        let mut one = object(true);
        hide_managed_fields(&mut one);
        assert_eq!(one, object(false));
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escape("app in (a,b)"), "app%20in%20%28a%2Cb%29");
    }

    #[test]
    fn one_object_is_watched_through_its_collection() {
        let check = |path: &str, names_one, expected: &str| assert_eq!(watch_path(path, names_one), expected);
        check("/api/v1/pods", false, "/api/v1/pods?watch=1");
        check("/api/v1/pods?labelSelector=a", false, "/api/v1/pods?labelSelector=a&watch=1");
        check("/api/v1/pods/web", true, "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dweb");
    }

    #[test]
    fn columns_of_low_priority_show_only_when_wide() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "IP", "priority": 1}, {"name": "Age"}],
            "rows": [{"cells": ["web", "10.0.0.2", "5s"], "object": {"metadata": {"namespace": "a"}}}],
        });
        let check = |columns: &[usize], namespace, headers: &[&str], row: &[&str]| {
            let shown = Shown { columns: columns.to_vec(), namespace };
            assert_eq!(shown.headers(&table), headers);
            assert_eq!(shown.rows(&table), [row]);
        };
        check(&[0, 2], false, &["Name", "Age"], &["web", "5s"]);
        check(&[0, 1, 2], true, &["Namespace", "Name", "IP", "Age"], &["a", "web", "10.0.0.2", "5s"]);
    }
}
