//! `localmart routes`: the routes of the application, and the component that answers each.

use crate::app::AppOptions;
use clap::Args;
use localmart_host::app::App;
use std::fmt::Write as _;

/// Shows the routes of the application, and the component that answers each.
#[derive(Args)]
pub(crate) struct Routes {
    #[command(flatten)]
    app: AppOptions,
}

impl Routes {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let app = self.app.app(Vec::new(), Vec::new())?;
        print!("{}", table(&app, ""));
        Ok(())
    }
}

/// A line per route, as Spin prints them: `  component: base/path (wildcard)`.
pub(crate) fn table(app: &App, base: &str) -> String {
    let mut table = String::new();
    let mut routes: Vec<_> = app.routes.iter().collect();
    routes.sort_by(|a, b| (a.answerer(), &a.text).cmp(&(b.answerer(), &b.text)));
    for route in routes {
        let (path, kind) = match route
            .text
            .strip_suffix("/...")
            .or_else(|| route.text.strip_suffix("/*"))
        {
            Some("") => ("/", " (wildcard)"),
            Some(path) => (path, " (wildcard)"),
            None => (route.text.as_str(), ""),
        };
        let component = route.component().and_then(|id| app.components.get(id));
        let name = component.map_or_else(|| route.answerer(), |spec| &spec.manifest_id);
        // Writing to a String cannot fail.
        let _ = writeln!(table, "  {name}: {base}{path}{kind}");
    }
    table
}
