//! `localmart graph`: draws the application: its components, the links between them, and what calls them from outside.
//!
//! [`picture`] draws it as SVG.

mod picture;

use crate::app::AppOptions;
use clap::{Args, ValueEnum};
use localmart_host::app::App;
use localmart_host::link::binding::{BindingOption, Bindings};
use localmart_host::wiring::graph::{Edge, LinkGraph};
use serde::Serialize;
use std::fmt::Write as _;

/// Draws the application: its components, the links between them, and what calls them from outside.
#[derive(Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    app: AppOptions,
    /// How links are bound; the same flag as that of localmart up.
    #[arg(long = "binding", value_name = "BINDING")]
    bindings: Vec<BindingOption>,
    /// The format of the drawing.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Mermaid,
    Svg,
    Json,
}

/// An application as a graph.
#[derive(Serialize)]
struct Drawn {
    application: String,
    components: Vec<Node>,
    links: Vec<Edge>,
}

/// A component, and what calls it from outside.
#[derive(Serialize)]
struct Node {
    id: String,
    routes: Vec<String>,
    channels: Vec<String>,
    databases: Vec<String>,
    every: Option<String>,
}

impl Graph {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        let graph = LinkGraph::of(&app)?;
        let drawn = Drawn {
            application: app.name.clone(),
            components: graph.ids().map(|id| node(&app, id)).collect(),
            links: graph.edges(&app, &Bindings::from_options(&self.bindings)),
        };
        match self.format {
            Format::Text => print!("{}", text(&drawn)),
            Format::Mermaid => print!("{}", mermaid(&drawn)),
            Format::Svg => print!("{}", picture::svg(&drawn)),
            Format::Json => println!("{}", serde_json::to_string_pretty(&drawn)?),
        }
        Ok(())
    }
}

fn node(app: &App, id: &str) -> Node {
    let routes = app.routes.iter().filter(|route| {
        let answers = route.component().and_then(|id| app.components.get(id));
        answers.is_some_and(|spec| spec.manifest_id == id)
    });
    let channels = app.subscriptions.iter().filter(|one| one.component == id);
    let spec = app.components.get(id);
    let own = spec.and_then(|spec| spec.own.as_ref());
    let databases = match own {
        Some(own) => own.sqlite_databases.iter().cloned().collect(),
        None => spec
            .map(|spec| spec.sqlite_databases.keys().cloned().collect())
            .unwrap_or_default(),
    };
    Node {
        id: id.to_owned(),
        routes: routes.map(|route| route.text.clone()).collect(),
        channels: channels.map(|one| one.channel.clone()).collect(),
        databases,
        every: spec
            .and_then(|spec| spec.timer.as_ref())
            .map(|every| format!("{:?}", every.interval)),
    }
}

fn text(drawn: &Drawn) -> String {
    let mut text = format!("{}\n", drawn.application);
    for node in &drawn.components {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", node.id);
        for (what, names) in [
            ("routes", &node.routes),
            ("hears", &node.channels),
            ("stores", &node.databases),
        ] {
            if !names.is_empty() {
                let _ = writeln!(text, "  {what:<7} {}", names.join(" "));
            }
        }
        if let Some(every) = &node.every {
            let _ = writeln!(text, "  every   {every}");
        }
        for link in drawn.links.iter().filter(|link| link.caller == node.id) {
            let over = link.interfaces.join(" ");
            let _ = writeln!(text, "  -> {} ({}) {over}", link.callee, link.binding);
        }
    }
    text
}

fn mermaid(drawn: &Drawn) -> String {
    let mut text = "flowchart LR\n".to_owned();
    // Mermaid reserves some words, such as `end`; a prefix keeps node names apart from them.
    let name = |id: &str| {
        format!(
            "c_{}",
            id.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
        )
    };
    for node in &drawn.components {
        let _ = writeln!(text, "  {}[\"{}\"]", name(&node.id), node.id);
        for channel in &node.channels {
            let _ = writeln!(
                text,
                "  {}((\"{channel}\")) -.-> {}",
                name(channel),
                name(&node.id)
            );
        }
    }
    for link in &drawn.links {
        let arrow = if link.binding == "fused" {
            "==>"
        } else {
            "-->"
        };
        let _ = writeln!(
            text,
            "  {} {arrow}|{}| {}",
            name(&link.caller),
            link.binding,
            name(&link.callee)
        );
    }
    text
}
