addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  const text = `Hello from JavaScript: ${request.method} ${pathname} ${await request.text()}`;
  return new Response(text, { headers: { "content-type": "text/plain" } });
}
