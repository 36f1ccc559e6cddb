from spin_sdk import http, key_value, variables
from spin_sdk.http import Request, Response


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        """Counts the requests for each path."""
        greeting = await variables.get("greeting")
        with await key_value.open_default() as store:
            seen = await store.get(request.uri)
            count = int(seen or b"0") + 1
            await store.set(request.uri, str(count).encode())
        body = request.body.decode()
        answer = f"{greeting} from Python: {request.method} {request.uri} {body} {count}"
        return Response(200, {"content-type": "text/plain"}, answer.encode())
