//! Named points: places where a test can delay, race or kill a component. No code without the feature `points`.

/// Reports that the component has reached the point `name`. Returns at once in every shipped component.
#[cfg(not(all(feature = "points", target_arch = "wasm32")))]
pub async fn point(_name: &'static str) {}

/// Reports that the component has reached the point `name`, and waits until the host lets it continue.
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
