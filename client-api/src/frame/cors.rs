//! Client-server API, "Web Browser Clients": CORS headers on every response, `OPTIONS` answered without any logic.

use axum::{extract::Request, http::Method, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

const ALLOW: [(HeaderName, HeaderValue); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("X-Requested-With, Content-Type, Authorization, Date"),
    ),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After")),
];

/// Browsers may remember a preflight for a day.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Around every route and fallback.
#[derive(Debug, Clone, Copy)]
pub struct CorsLayer;

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;

    fn layer(&self, inner: S) -> Cors<S> {
        Cors(inner)
    }
}

/// A route whose answers browsers let their pages see.
#[derive(Debug, Clone)]
pub struct Cors<S>(S);

impl<S: Service<Request, Response = Response>> Service<Request> for Cors<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Allowing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let preflight = request.method() == Method::OPTIONS;
        Allowing { route: (!preflight).then(|| self.0.call(request)) }
    }
}

pin_project! {
    /// An answer under way: the route's, or to `OPTIONS`, which no route sees.
    #[derive(Debug)]
    pub struct Allowing<F> {
        #[pin]
        route: Option<F>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Allowing<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match self.project().route.as_pin_mut() {
            Some(route) => ready!(route.poll(context))?,
            None => {
                let mut response = Response::new(axum::body::Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
                response
            }
        };
        add_to(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

fn add_to(headers: &mut HeaderMap) {
    for (name, value) in ALLOW {
        headers.insert(name, value);
    }
}
