// npm event-source-plus: shows why docs/guide/clients/index.md advises against it.

import { EventSourcePlus } from 'event-source-plus';

import { message, url } from './print.mjs';

new EventSourcePlus(url).listen({
  onMessage: ({ id, event, data }) => message({ id, channel: event ?? 'message', data }),
});
