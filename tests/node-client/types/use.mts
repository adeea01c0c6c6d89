/// <reference types="pipecast/global" />
import { createSend, defineComponent as define, PublishError, Publisher, type SentEvent } from 'pipecast';

const send = createSend({ url: ['http://a', 'http://b'], pipeline: 'p', token: 't', timeout: 1, retryFor: 1 });
send.sse({ channel: 'names', payload: { name: 'Luke' } });
const sent: SentEvent[] = await send.flush();
const id: string = await new Publisher({ pipeline: 'p' }).publish('names', sent[0]?.payload);

export default defineComponent({
  props: { greeting: { type: 'string', default: id }, times: 'integer', names: { type: 'string[]' } },
  methods: {
    greet(name: string): string {
      return `${this.greeting} ${name}`.repeat(this.times);
    },
  },
  async run({ steps, $ }) {
    for (const name of this.names) $.send.sse({ channel: steps.trigger.event.name, payload: this.greet(name) });
  },
});

define({ run({ $ }) { $.export('$summary', send.unsent); } });

try {
  await send.flush();
} catch (error) {
  if (error instanceof PublishError && error.status === 401) console.log(error.events[0]?.channel);
}

// @ts-expect-error -- no payload
send.sse({ channel: 'names' });
// @ts-expect-error -- no pipeline
createSend({ url: 'http://a' });
