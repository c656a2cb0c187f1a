// Runs the golden corpus: node golden.mjs router.onnx golden.json inputs.mjs
//
// Prints what was compared, every difference, and the outputs of each entry, as JSON. `inputs.mjs` is the README's function.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import ort from "onnxruntime-node";

const [routerFile, corpusFile, inputsFile] = process.argv.slice(2);
const { inputs } = await import(pathToFileURL(resolve(inputsFile)));
const corpus = JSON.parse(readFileSync(corpusFile, "utf8"));
const router = await ort.InferenceSession.create(routerFile, { logSeverityLevel: 3 });

const COUNTS = ["context_bytes", "tool_count", "turn_count"];
const FIGURES = ["features", "evidence", "probabilities", "gain", "use_pro"];
const SHORT = 1000;
const differences = [];
const outputs = {};

const unrolled = (text) => (typeof text === "string" ? text : text.repeat.repeat(text.times));
const allWords = (words) =>
  Array.isArray(words) ? words.map(unrolled) : Array.from({ length: words.times }, () => words.repeat).flat();

function expect(name, field, found, expected, isSame = Object.is) {
  const [left, right] = [found, expected].map((each) => (Array.isArray(each) ? each : [each]));
  const at = left.findIndex((each, index) => !isSame(each, right[index]));
  if (left.length !== right.length || at >= 0) {
    differences.push({ name, field, at, lengths: [left.length, right.length], found: left[at], expected: right[at] });
  }
}

const relative = (found, expected) => Math.abs(found - expected) <= 1e-6 * Math.abs(expected);
const absolute = (found, expected) => Math.abs(found - expected) <= 1e-6;

async function decide(requests) {
  const tensors = { prompt: new ort.Tensor("string", requests.map(({ prompt }) => prompt), [requests.length]) };
  for (const name of COUNTS) {
    const counts = BigInt64Array.from(requests, (request) => BigInt(request[name]));
    tensors[name] = new ort.Tensor("int64", counts, [requests.length]);
  }
  const found = await router.run(tensors);
  const rowOf = ({ data }, row) => {
    const width = data.length / requests.length;
    return Array.from(data.slice(row * width, (row + 1) * width));
  };
  return requests.map((_, row) => ({
    features: rowOf(found.features, row),
    evidence: found.evidence.data[row],
    probabilities: rowOf(found.probabilities, row),
    gain: found.gain.data[row],
    use_pro: Boolean(found.use_pro.data[row]),
    words: rowOf(found.words, row).filter((word) => word !== ""),
  }));
}

function check(name, entry, found) {
  expect(name, "words", found.words, allWords(entry.words));
  expect(name, "features", found.features, entry.features, relative);
  for (const field of ["evidence", "probabilities", "gain"]) expect(name, field, found[field], entry[field], absolute);
  expect(name, "use_pro", found.use_pro, entry.use_pro);
}

function requestOf(entry) {
  if (!("payload" in entry)) {
    const { context_bytes = 0, tool_count = 0, turn_count = 1 } = entry;
    const { prompt } = inputs({ messages: [{ role: "user", content: unrolled(entry.prompt) }] });
    return { prompt, context_bytes, tool_count, turn_count };
  }
  const found = inputs(entry.payload);
  // Lone surrogates are left to the binding; here they are compared as UTF-8 has them.
  expect(entry.name, "prompt", Buffer.from(found.prompt).toString(), entry.request.prompt);
  for (const name of [...COUNTS, "other_modalities"]) expect(entry.name, name, found[name], entry.request[name]);
  return found;
}

const entries = [...corpus.prompts, ...corpus.payloads].map((entry) => ({ entry, request: requestOf(entry) }));
for (const { entry, request } of entries) {
  const [found] = await decide([request]);
  check(entry.name, entry, found);
  outputs[entry.name] = Object.fromEntries(FIGURES.map((field) => [field, found[field]]));
}

const batch = entries.filter(({ request }) => request.prompt.length < SHORT);
const rows = await decide(batch.map(({ request }) => request));
batch.forEach(({ entry }, row) => check(`${entry.name} (in a batch)`, entry, rows[row]));

for (const { name, payload } of corpus.refused) {
  try {
    differences.push({ name, field: "inputs", found: inputs(payload), expected: "refused" });
  } catch (error) {
    expect(name, "error", error.constructor.name, "TypeError");
  }
}

const compared = { entries: entries.length, refused: corpus.refused.length, batch: batch.length };
console.log(JSON.stringify({ compared, differences, outputs }));
