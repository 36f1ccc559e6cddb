// Makes dist/examples/tax-js.wasm. Everything that a policy may not have is left out.

import { componentize } from "@bytecodealliance/componentize-js";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const place = (path) => fileURLToPath(new URL(path, import.meta.url));
const { component } = await componentize(await readFile(place("policy.js"), "utf8"), {
  witPath: place("../../../wit/tax"),
  worldName: "component",
  disableFeatures: ["clocks", "fetch-event", "http", "random", "stdio"],
});
await mkdir(place("../../../dist/examples"), { recursive: true });
await writeFile(place("../../../dist/examples/tax-js.wasm"), component);
