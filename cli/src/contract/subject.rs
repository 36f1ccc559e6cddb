//! The component under test, in a shop of its own on temporary stores.

use crate::app::{AppOptions, Stores};
use crate::client::Client;
use crate::clock;
use crate::migrate;
use crate::token::{self, Role};
use anyhow::{Context as _, bail};
use localmart_host::capability::sqlite::Synchronous;
use localmart_host::clock::Clock;
use localmart_host::engine::EngineOptions;
use localmart_host::link::binding::{Binding, Bindings};
use localmart_host::remote::client::RemoteConfig;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_host::serve::load::{LoadOptions, Loaded, load};
use localmart_host::serve::{Running, bind, start};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A shop that contains the component under test.
pub(super) struct Subject {
    component: String,
    loaded: Arc<Loaded>,
    running: Option<Running>,
    state: PathBuf,
    staff: Client,
    count: AtomicU32,
}

impl Subject {
    /// Starts the shop with all components under test, each with the file that takes its place, if any. The other
    /// components are those of the application. [`Self::select`] chooses whose functions are called.
    pub(super) fn start(
        options: &AppOptions,
        components: &[(&str, Option<&Path>)],
    ) -> anyhow::Result<Self> {
        let name = format!("localmart-test-{}", std::process::id());
        let state = std::env::temp_dir().join(name);
        let source = options.source()?;
        let aot = options.state_dir(&source).join("aot");
        let mut throw_away = options.clone();
        throw_away.state_dir = Some(state.clone());
        let mut app = throw_away.app(Vec::new(), Vec::new())?;
        for (component, file) in components {
            let spec = app.components.get_mut(*component);
            let spec = spec.with_context(|| format!("there is no component `{component}`"))?;
            if let Some(file) = file {
                spec.wasm = (*file).to_owned();
            }
            // A component without a trigger would not be loaded.
            spec.triggered = true;
        }
        if Stores::of(&app).database_url != "embedded" {
            bail!("contracts are tested on temporary stores; leave out database_url and redis_url");
        }
        migrate::migrate(&app, &state)?;
        let variables = app.variables.clone();
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "--listen")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let loaded = runtime.block_on(load(
            app,
            LoadOptions {
                engine: EngineOptions::default(),
                state_dir: state.clone(),
                aot: Some(aot),
                synchronous: Synchronous::Normal,
                runtime_config: RuntimeConfig::default(),
                bindings: Bindings::all(Binding::Isolated),
                remotes: RemoteConfig::default(),
                tls: None,
                extra_metrics: None,
                points: None,
                clock: Clock::machine(),
                progress: None,
            },
        ));
        let loaded = Arc::new(loaded?);
        let running = start(loaded.clone(), listener, None, None, 1)?;
        let token = token::make(&variables, Role::Staff, 3600, clock::now(&state)?)?;
        let staff = Client::new(&format!("http://{}", running.address), token);
        Ok(Self {
            component: String::new(),
            loaded,
            running: Some(running),
            state,
            staff,
            count: AtomicU32::new(0),
        })
    }

    /// Chooses the component whose functions the next cases call.
    pub(super) fn select(&mut self, component: &str) {
        component.clone_into(&mut self.component);
    }

    /// Calls a function of the component's interface. Arguments and answer are in WAVE, the text format of component values.
    pub(super) fn call(&self, function: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.loaded
            .call(&self.component, function, arguments)
            .with_context(|| format!("{function}({})", arguments.join(", ")))
    }

    /// Calls a function that must answer exactly this.
    pub(super) fn expect(
        &self,
        function: &str,
        arguments: &[&str],
        answer: &str,
    ) -> anyhow::Result<()> {
        let said = self.call(function, arguments)?;
        if said != answer {
            bail!(
                "{function}({}) is {said}, not {answer}",
                arguments.join(", ")
            );
        }
        Ok(())
    }

    /// Calls a function whose answer must begin with this.
    pub(super) fn expect_like(
        &self,
        function: &str,
        arguments: &[&str],
        beginning: &str,
    ) -> anyhow::Result<String> {
        let said = self.call(function, arguments)?;
        if !said.starts_with(beginning) {
            bail!(
                "{function}({}) is {said}, not {beginning}…",
                arguments.join(", ")
            );
        }
        Ok(said)
    }

    /// A number that no other case uses.
    pub(super) fn fresh(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// An id that no other case uses.
    pub(super) fn fresh_id(&self) -> String {
        format!("01920000-0000-7000-8000-{:012x}", self.fresh())
    }

    /// Posts to the shop as staff.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.staff
            .post(path, &format!("contract-{}", self.fresh()), body)
    }

    /// Creates a published product with stock; returns its id.
    pub(super) fn product(&self, price: u64, stock: u64) -> anyhow::Result<String> {
        let number = self.fresh();
        // The first product of the subject creates the category.
        let _ = self.post(
            "/api/categories",
            &json!({ "slug": "things", "name": "Things" }),
        );
        let product = json!({
            "sku": format!("C-{number}"), "name": format!("Thing {number}"), "description": "A thing.",
            "category": "things", "price": { "amount": price, "currency": "USD" }, "published": true,
        });
        let product = self.post("/api/products", &product)?;
        let id = product
            .pointer("/id")
            .and_then(Value::as_str)
            .context("a product without an id")?;
        if stock > 0 {
            let adjustment = json!({ "delta": stock, "reason": "contract" });
            self.post(&format!("/api/inventory/{id}/adjustments"), &adjustment)?;
        }
        Ok(id.to_owned())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.drain();
        }
        // If this fails, the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// The context of a call on behalf of the shop itself.
pub(super) const SYSTEM: &str = "{trace-parent: \"\", actor: system, deadline: 0}";

/// A string in WAVE.
pub(super) fn text(text: &str) -> String {
    format!("{text:?}")
}
