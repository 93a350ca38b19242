// Says how Node reads each JSON file of a directory: one line a file, typed and exact.
//
//     node dump.mjs DIRECTORY

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const text = (string) =>
  "s" + Array.from(string, (c) => c.codePointAt(0).toString(16)).join(".");

function bits(number) {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setFloat64(0, number);
  return bytes.getBigUint64(0).toString(16).padStart(16, "0");
}

function dump(value) {
  if (value === null) return "n";
  if (value === true) return "t";
  if (value === false) return "f";
  if (typeof value === "number") return "d" + bits(value);
  if (typeof value === "string") return text(value);
  if (Array.isArray(value)) return "[" + value.map(dump).join(",") + "]";
  const members = Object.keys(value).map((key) => [text(key), dump(value[key])]);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return "{" + members.map(([key, member]) => `${key}:${member}`).join(",") + "}";
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const directory = process.argv[2];
for (const name of readdirSync(directory).filter((n) => n.endsWith(".json")).sort()) {
  const value = JSON.parse(strict.decode(readFileSync(join(directory, name))));
  process.stdout.write(`${name}\t${dump(value)}\n`);
}
