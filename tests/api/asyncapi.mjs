// Prints what the parser of AsyncAPI finds wrong in the file that is given, and fails if that is anything.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { code, path, message } of diagnostics) console.log(`${path.join(".")}: ${message} (${code})`);
process.exitCode = document && diagnostics.length === 0 ? 0 : 1;
