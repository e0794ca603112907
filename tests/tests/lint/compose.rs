//! The compose file, as far as can be told without docker: what is published, what is pinned, what is watched, what is set.

use std::fs;

use yaml_rust2::{Yaml, YamlLoader};

use super::sources::{expect_none, root};

/// What the compose file starts when nobody asks for more, which is what `make services` needs.
const SERVICES: [&str; 2] = ["kafka", "redis"];

const ROLES: [&str; 4] = ["standalone", "server", "executor", "router"];

fn compose() -> Yaml {
    let text = fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("docker-compose.yml: {error}"));
    assert_eq!(documents.len(), 1, "docker-compose.yml holds one document");
    documents.remove(0)
}

fn services(compose: &Yaml) -> Vec<(&str, &Yaml)> {
    let services = compose["services"].as_hash().expect("services is a map");
    services.iter().map(|(name, service)| (name.as_str().expect("names are text"), service)).collect()
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().into_iter().flatten().map(|item| item.as_str().expect("put it into quotes")).collect()
}

fn environment(service: &Yaml) -> Vec<(&str, &str)> {
    let variables = service["environment"].as_hash().into_iter().flatten();
    let text = |value: &'_ Yaml| value.as_str().map(str::to_owned);
    variables
        .map(|(name, value)| {
            assert!(text(value).is_some(), "{name:?}: put the value into quotes");
            (name.as_str().expect("names are text"), value.as_str().unwrap_or_default())
        })
        .collect()
}

#[test]
fn every_service_is_watched_pinned_and_published_to_this_machine_only() {
    let compose = compose();
    let mut found = Vec::new();
    for (name, service) in services(&compose) {
        if texts(&service["healthcheck"]["test"]).len() < 2 {
            found.push(format!("{name} has no health check"));
        }
        for port in texts(&service["ports"]).into_iter().filter(|port| !port.starts_with("127.0.0.1:")) {
            found.push(format!("{name} publishes {port}: begin it with 127.0.0.1:"));
        }
        let image = service["image"].as_str().expect("every service has an image");
        let tag = image.split_once(':').map_or("", |(_, tag)| tag);
        let is_pinned = tag.split('-').next().is_some_and(|version| version.split('.').count() == 3);
        if service["build"].is_badvalue() && !is_pinned {
            found.push(format!("{name} runs {image}: name one version, as in kafka:3.9.1"));
        }
        for volume in texts(&service["volumes"]) {
            let volume = volume.split(':').next().unwrap_or_default();
            if compose["volumes"][volume].is_badvalue() {
                found.push(format!("{name}: volume {volume} is not declared"));
            }
        }
        for (on, _) in service["depends_on"].as_hash().into_iter().flatten() {
            let on = on.as_str().expect("names are text");
            if compose["services"][on].is_badvalue() {
                found.push(format!("{name} depends on {on}, which is not there"));
            }
        }
    }
    expect_none("docker-compose.yml", &found);
}

#[test]
fn kafka_and_redis_are_what_is_started_by_default() {
    let compose = compose();
    let started: Vec<_> =
        services(&compose).into_iter().filter(|(_, service)| service["profiles"].is_badvalue()).collect();
    assert_eq!(started.iter().map(|(name, _)| *name).collect::<Vec<_>>(), SERVICES);
    let pom = fs::read_to_string(root().join("testing/services/pom.xml")).unwrap();
    let version = pom.split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next()).expect("a version");
    let image = compose["services"]["kafka"]["image"].as_str().unwrap_or_default();
    assert_eq!(image, format!("apache/kafka:{version}"), "the version of testing/services/pom.xml");
}

#[test]
fn nimbus_is_given_settings_that_it_has_and_accepts() {
    let compose = compose();
    let ours: Vec<_> = services(&compose).into_iter().filter(|(_, service)| !service["build"].is_badvalue()).collect();
    for (name, service) in &ours {
        let dockerfile = service["build"]["dockerfile"].as_str().expect("build.dockerfile");
        assert!(root().join(dockerfile).exists(), "{dockerfile} is not there");
        let role = texts(&service["command"]);
        assert!(role.len() == 1 && ROLES.contains(&role[0]), "{name} runs {role:?}, none of {ROLES:?}");
        for (variable, _) in environment(service) {
            let is_setting = nimbus_config::settings().any(|setting| setting.name == variable);
            assert!(is_setting, "{name}: {variable} is not a setting");
        }
        let values = environment(service).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        if let Err(error) = nimbus_config::load(&nimbus_config::Environment::of_pairs(values)) {
            panic!("the environment of {name} is refused: {error}");
        }
    }
    for role in ROLES {
        assert!(ours.iter().any(|(_, service)| texts(&service["command"]) == [role]), "nothing runs `nimbus {role}`");
    }
}
