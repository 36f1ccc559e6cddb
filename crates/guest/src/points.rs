//! Named points: where a test may delay, race or kill a component. Empty unless the feature `points` is set.

/// Says that the component has come to `name`. Returns at once in every shipped component.
#[cfg(not(all(feature = "points", target_arch = "wasm32")))]
pub async fn point(_name: &'static str) {}

/// Says that the component has come to `name`; the host decides what happens and when it goes on.
#[cfg(all(feature = "points", target_arch = "wasm32"))]
pub async fn point(name: &'static str) {
    generated::localmart::testing::points::hit(name.to_owned()).await;
}

#[cfg(all(feature = "points", target_arch = "wasm32"))]
#[allow(missing_docs, clippy::all, reason = "generated from documented WIT")]
mod generated {
    use spin_sdk::wit_bindgen;
    wit_bindgen::generate!({
        world: "localmart:testing/testing@1.0.0",
        path: "../../wit/testing",
        runtime_path: "::spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}
