// A component action with props of every type, defaults, methods and a summary.
import { defineComponent } from 'pipecast';

export default defineComponent({
  key: 'greet',
  name: 'Greet',
  version: '0.0.1',
  type: 'action',
  props: {
    greeting: { type: 'string', label: 'Greeting', default: 'Hello' },
    times: 'integer',
    loud: { type: 'boolean', optional: true },
    names: { type: 'string[]' },
    extra: { type: 'object', default: { from: 'default' } },
  },
  methods: {
    greet(name) {
      return this.finish(`${this.greeting} ${name}`.repeat(this.times));
    },
    finish(text) {
      return this.loud ? text.toUpperCase() : text;
    },
  },
  async run({ steps, $ }) {
    for (const name of [...this.names, steps.trigger.event.name]) {
      $.send.sse({ channel: 'greetings', payload: { text: this.greet(name), extra: this.extra } });
    }
    $.export('$summary', `Greeted ${this.names.length + 1}`);
  },
});
