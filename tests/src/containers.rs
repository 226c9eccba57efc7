//! What the files for containers say, for a test that does the same without an engine: the steps of an image, and who sees
//! what in a container, as compose and as Kubernetes are told.

use crate::machine::project;
use serde_json::Value;
use std::process::Command;

/// A Dockerfile, as far as ours goes.
#[derive(Default)]
pub struct Image {
    pub base: String,
    /// What is copied, and where to.
    pub copies: Vec<(String, String)>,
    pub runs: Vec<String>,
    pub entrypoint: Vec<String>,
}

pub struct Mount {
    /// A volume's name, a path of the host, or what a file holds.
    pub source: Source,
    pub target: String,
    pub read_only: bool,
}

pub enum Source {
    Volume(String),
    Text(String),
}

pub struct Container {
    pub name: String,
    pub user: String,
    pub groups: Vec<String>,
    pub mounts: Vec<Mount>,
    /// Instead of the image's.
    pub entrypoint: Option<Vec<String>>,
    pub command: Vec<String>,
}

fn read(name: &str) -> String {
    let path = project().join("scripts/system/container").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn image() -> Image {
    let mut image = Image::default();
    for line in read("Dockerfile").lines() {
        let Some((word, rest)) = line.split_once(' ').filter(|(word, _)| *word != "#") else {
            continue;
        };
        match word {
            "FROM" => image.base = rest.to_owned(),
            "COPY" => {
                let (from, to) = rest.split_once(' ').expect("COPY FROM TO");
                image.copies.push((from.to_owned(), to.to_owned()));
            }
            "RUN" => image.runs.push(rest.to_owned()),
            "ENTRYPOINT" => image.entrypoint = serde_json::from_str(rest).expect("a list"),
            _ => panic!("a step that the test doesn't do: {line}"),
        }
    }
    image
}

/// The documents of a file of YAML.
fn yaml(name: &str) -> Vec<Value> {
    const AS_JSON: &str = "import json, sys, yaml\njson.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let path = project().join("scripts/system/container").join(name);
    let mut python = Command::new("/usr/bin/python3");
    let read = python.args(["-c", AS_JSON]).arg(&path).output();
    let read = read.expect("python3, and its yaml");
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{}: {said}", path.display());
    serde_json::from_slice(&read.stdout).expect("JSON")
}

fn words(value: &Value) -> Vec<String> {
    let each = value.as_array().into_iter().flatten();
    each.map(|word| {
        word.as_str()
            .map_or_else(|| word.to_string(), str::to_owned)
    })
    .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The services of compose.
pub fn composed() -> Vec<Container> {
    let file = yaml("compose.yaml").remove(0);
    let named = file["volumes"].as_object().expect("volumes");
    let services = file["services"].as_object().expect("services");
    let mount = |said: &Value| {
        let said = text(said);
        let mut parts = said.split(':');
        let (source, target) = (parts.next().unwrap(), parts.next().expect("where to"));
        let source = match source.strip_prefix("./") {
            Some(file) => Source::Text(read(file)),
            None => {
                assert!(named.contains_key(source), "no volume {source}");
                Source::Volume(source.to_owned())
            }
        };
        Mount {
            source,
            target: target.to_owned(),
            read_only: parts.next() == Some("ro"),
        }
    };
    let container = |(name, service): (&String, &Value)| Container {
        name: name.clone(),
        user: service["user"].as_str().unwrap_or("0:0").to_owned(),
        groups: words(&service["group_add"]),
        mounts: service["volumes"]
            .as_array()
            .expect("volumes")
            .iter()
            .map(mount)
            .collect(),
        entrypoint: service.get("entrypoint").map(words),
        command: words(&service["command"]),
    };
    services.iter().map(container).collect()
}

/// The containers of the pods of Kubernetes.
pub fn of_kubernetes() -> Vec<Container> {
    let file = yaml("kubernetes.yaml");
    let policy = file.iter().find(|part| part["kind"] == "ConfigMap");
    let policy = policy.expect("a policy");
    let mut all = Vec::new();
    for part in &file {
        let pod = match part["kind"].as_str() {
            Some("DaemonSet") => &part["spec"]["template"]["spec"],
            Some("Pod") => &part["spec"],
            _ => continue,
        };
        let volumes = pod["volumes"].as_array().expect("volumes");
        let mount = |said: &Value| {
            let volume = volumes.iter().find(|one| one["name"] == said["name"]);
            let volume = volume.expect("a volume of that name");
            let source = match volume["configMap"]["name"].as_str() {
                Some(name) => {
                    assert_eq!(policy["metadata"]["name"], name);
                    Source::Text(text(&policy["data"][text(&said["subPath"])]))
                }
                None => Source::Volume(text(&volume["hostPath"]["path"])),
            };
            Mount {
                source,
                target: text(&said["mountPath"]),
                read_only: said["readOnly"] == true,
            }
        };
        for one in pod["containers"].as_array().expect("containers") {
            let said = |what: &str| one["securityContext"][what].as_u64().unwrap_or(0);
            all.push(Container {
                name: text(&one["name"]),
                user: format!("{}:{}", said("runAsUser"), said("runAsGroup")),
                groups: words(&pod["securityContext"]["supplementalGroups"]),
                mounts: one["volumeMounts"]
                    .as_array()
                    .expect("mounts")
                    .iter()
                    .map(mount)
                    .collect(),
                entrypoint: one.get("command").map(words),
                command: words(&one["args"]),
            });
        }
    }
    all
}

/// As one word of a shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
