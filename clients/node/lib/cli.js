'use strict';
// The command line. Exit codes: 0 done, 1 failed, 2 not asked for properly.

const { readFileSync } = require('node:fs');
const { resolve } = require('node:path');
const { parseArgs } = require('node:util');

const { version } = require('../package.json');
const { UsageError, bind } = require('./component.js');
const { complain, count } = require('./exit.js');
const { createSend } = require('./index.js');
const { load } = require('./step.js');
const { visible, visibleLines } = require('./visible.js');

const HELP = `Run a workflow step and send its events

Usage: pipecast run [OPTIONS] --pipeline <PIPELINE> <FILE>

Arguments:
  <FILE>  The step: export default defineComponent({ async run({ steps, $ }) { ... } })

Options:
      --url <URL>            The node, or the load balancer before the nodes; several with commas
                             [env: PIPECAST_URL] [default: http://127.0.0.1:8080]
      --pipeline <PIPELINE>  The pipeline, as in /pipelines/p_aBcDeF/sse
      --token <TOKEN>        A key or token for it. Other users of the machine see a command line:
                             better by PIPECAST_TOKEN
      --steps <FILE>         JSON: what earlier steps gave, the step's \`steps\`
      --prop <KEY=VALUE>     A prop of a component action; repeatable, for arrays with the same key
  -h, --help                 Print help
  -V, --version              Print version

What was sent goes to standard output, an event a line. Exit codes: 0 done, 1 failed, 2 not asked for properly.

Examples:
  npx pipecast run step.mjs --pipeline p_aBcDeF
  npx pipecast run action.mjs --url https://events.example.com --pipeline p_aBcDeF --prop greeting=Hello
`;

const OPTIONS = {
  url: { type: 'string' },
  pipeline: { type: 'string' },
  token: { type: 'string' },
  steps: { type: 'string' },
  prop: { type: 'string', multiple: true, default: [] },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
};

async function main(args) {
  // Until it is known to be done: a step may wait for what never comes, or end the process itself.
  process.exitCode = 1;
  let isDone = false;
  process.on('exit', () => {
    if (!isDone) complain('the process ends before the step has finished');
  });
  try {
    await run(args);
    isDone = true;
    process.exitCode = 0;
  } catch (error) {
    isDone = true;
    fail(error);
  }
}

// At once: what could not be sent has been tried long enough, and a failed step may have left anything running.
function fail(error) {
  const isUsage = error instanceof UsageError;
  complain(isUsage ? `${error.message}; see pipecast --help` : error.message);
  process.exit(isUsage ? 2 : 1);
}

async function run(args) {
  const asked = parse(args);
  if (asked.answer) {
    process.stdout.write(asked.answer);
    return;
  }
  const { path, options, steps, props } = asked;
  const send = asUsage(() => createSend(options));
  // What comes later than `run` ends, by a timer that it did not wait for.
  process.on('beforeExit', () => {
    if (send.unsent > 0) flush(send, options.pipeline).catch(fail);
  });
  const component = await load(path).catch((error) => {
    throw new Error(`${path} cannot be loaded: ${traceOf(error)}`);
  });
  const self = bind(component, props);
  const failures = [];
  try {
    await component.run.call(self, { steps, $: { send: { sse: send.sse }, export: report } });
  } catch (error) {
    failures.push(`the step failed: ${traceOf(error)}`);
  }
  // Also after a failure: what a step has sent before is sent.
  await flush(send, options.pipeline).catch((error) => failures.push(error.message));
  if (failures.length > 0) throw new Error(failures.join('\npipecast: '));
}

async function flush(send, pipeline) {
  try {
    tell(await send.flush());
  } catch (error) {
    tell(error.sent ?? []);
    const kept = error.isKept ? 0 : error.events.length;
    throw new Error(`${count(send.unsent + kept)} not sent to pipeline ${pipeline}: ${error.message}`);
  }
}

function tell(sent) {
  process.stdout.write(sent.map((event) => `${visible(JSON.stringify(event))}\n`).join(''));
}

// What actions say of themselves. The rest of what they export is for later steps, of which there are none here.
function report(name, value) {
  if (name === '$summary') process.stderr.write(`${visibleLines(value)}\n`);
}

function traceOf(error) {
  return error instanceof Error ? error.stack : String(error);
}

function parse(args) {
  const { values, positionals } = asUsage(() => parseArgs({ args, options: OPTIONS, allowPositionals: true }));
  if (values.help || args.length === 0) return { answer: HELP };
  if (values.version) return { answer: `pipecast ${version}\n` };
  const [command, file, ...rest] = positionals;
  if (command !== 'run') throw new UsageError(`there is no command ${command ?? ''}; there is: run`);
  if (file === undefined || rest.length > 0) throw new UsageError('give the file of one step');
  if (values.pipeline === undefined) throw new UsageError('--pipeline is missing');
  const path = resolve(file);
  read(path);
  return {
    path,
    options: { url: values.url, pipeline: values.pipeline, token: values.token },
    steps: values.steps === undefined ? {} : asJson(values.steps),
    props: asProps(values.prop),
  };
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`${path} cannot be read: ${error.code}`);
  }
}

function asJson(path) {
  const text = read(path);
  return asUsage(() => JSON.parse(text), `${path} is not JSON: `);
}

function asProps(texts) {
  const props = new Map();
  for (const text of texts) {
    const end = text.indexOf('=');
    if (end < 1) throw new UsageError(`--prop ${text} is not key=value`);
    const name = text.slice(0, end);
    props.set(name, [...(props.get(name) ?? []), text.slice(end + 1)]);
  }
  return props;
}

function asUsage(make, prefix = '') {
  try {
    return make();
  } catch (error) {
    throw new UsageError(prefix + error.message);
  }
}

exports.main = main;
