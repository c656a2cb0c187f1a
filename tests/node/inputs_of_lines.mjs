// Reads a chat-completions body per line and answers each with a line: its inputs, or {"refused": why}.
//
//     node inputs_of_lines.mjs inputs.mjs
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { inputs } = await import(pathToFileURL(resolve(process.argv[2])));

function answer(line) {
  try {
    return inputs(JSON.parse(line));
  } catch (error) {
    return { refused: `${error}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(answer(line)));
