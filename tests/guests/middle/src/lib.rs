//! A guest for tests: middleware. It stops requests with `x-stop`, and marks all others on the way in and out with what
//! it may read.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{self, HeaderValue, IntoResponse, Request, StatusCode};
use spin_sdk::{http_service, variables};

#[http_service]
async fn middle(request: Request) -> http::Result<impl IntoResponse> {
    let known = variables::get("greeting").await;
    let known = known.unwrap_or_else(|_| "nothing".to_owned());
    if request.headers().contains_key("x-stop") {
        return said(StatusCode::FORBIDDEN, &known, "stopped".to_owned());
    }
    let (mut parts, body) = request.into_parts();
    if let Ok(value) = HeaderValue::try_from(&known) {
        parts.headers.insert("x-middle", value);
    }
    let response = http::next(Request::from_parts(parts, body)).await?;
    let status = response.status();
    let text = response.into_body().bytes().await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    said(status, &known, text)
}

fn said(status: StatusCode, known: &str, text: String) -> http::Result<::http::Response<String>> {
    let response = ::http::Response::builder().status(status);
    Ok(response.header("x-knows", known).body(text)?)
}
