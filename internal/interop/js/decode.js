// Decodes packets with mqtt-packet. Usage: node decode.js < lines, each of a protocol version and a packet in hexadecimal.
// It prints a line for each: the packet's fields, sorted, or "error: why".
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const mqtt = createRequire(createRequire(import.meta.url).resolve("mqtt"))("mqtt-packet");

// text is the form of a value that other decoders give it too.
const text = (v) => (typeof v === "boolean" ? String(Number(v)) : v.toString().replaceAll(" ", "_"));

function properties(fields, prefix, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "userProperties") {
      for (const [k, v] of Object.entries(value)) fields.push(`${prefix}user:${k}=${v}`);
    } else {
      for (const v of [value].flat()) fields.push(`${prefix}${name}=${text(v)}`);
    }
  }
}

function describe(p, version) {
  const fields = [];
  const add = (name, value) => value !== undefined && value !== null && fields.push(`${name}=${text(value)}`);
  if (p.cmd === "publish") {
    for (const flag of ["retain", "dup"]) if (p[flag]) fields.push(flag);
    add("qos", p.qos);
    add("topic", p.topic);
    add("payload", p.payload);
  }
  if (p.cmd === "connect") {
    add("version", p.protocolVersion);
    add("protocol", p.protocolId);
    add("clean", p.clean);
    add("keepalive", p.keepalive);
    add("id", p.clientId);
    add("username", p.username);
    add("password", p.password);
    if (p.will) {
      fields.push(`will=${p.will.topic}:${text(p.will.payload)}:${p.will.qos}:${text(p.will.retain)}`);
      properties(fields, "will.", p.will.properties);
    }
  }
  if (p.messageId) add("id", p.messageId);
  if (p.cmd === "connack") add("session", p.sessionPresent);
  add("reason", p.reasonCode ?? p.returnCode);
  if (p.granted?.length) fields.push(`codes=${p.granted.join(",")}`);
  for (const s of p.subscriptions ?? []) {
    fields.push(version === 5 ? `filter=${s.topic}:${s.qos}:${text(s.nl)}:${text(s.rap)}:${s.rh}` : `filter=${s.topic}:${s.qos}`);
  }
  for (const s of p.unsubscriptions ?? []) fields.push(`filter=${s}`);
  properties(fields, "", p.properties);
  return [p.cmd, ...fields.sort()].join(" ");
}

for await (const line of createInterface({ input: process.stdin })) {
  const [versionArg, hex] = line.split(" ");
  const version = Number(versionArg);
  const parser = mqtt.parser({ protocolVersion: version });
  const got = [];
  parser.on("packet", (p) => got.push(describe(p, version)));
  parser.on("error", (err) => got.push(`error: ${err.message}`));
  const rest = parser.parse(Buffer.from(hex, "hex"));
  console.log(rest === 0 && got.length === 1 ? got[0] : `error: ${got.length} packets, ${rest} bytes left: ${got}`);
}
