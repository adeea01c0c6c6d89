<?php
// Symfony's EventSourceHttpClient reconnects after some errors, and a loop around it after all others.

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;

require __DIR__ . '/printing.php';
require 'Symfony/Component/HttpClient/autoload.php';

final class Refused extends RuntimeException
{
}

/** Calls `$handle` for each event, until the node refuses the stream. */
function follow(string $url, callable $handle): never
{
    $lastEventId = '';
    $retrySeconds = 1.0;
    while (true) {
        $client = new EventSourceHttpClient(reconnectionTime: $retrySeconds);
        try {
            // Not as a header: the client would send its own Last-Event-ID beside it.
            $response = $client->connect($url, ['query' => ['last_event_id' => $lastEventId]]);
            $status = $response->getStatusCode();
            if ($status >= 400 && $status < 500) {
                $response->cancel();
                throw new Refused("refused: $status");
            }
            foreach ($client->stream($response, 45) as $chunk) {
                if ($chunk instanceof ServerSentEvent) {
                    $lastEventId = $chunk->getId() ?: $lastEventId;
                    $retrySeconds = $chunk->getRetry() ?: $retrySeconds;
                    $handle($chunk);
                }
            }
        } catch (Refused $refusal) {
            throw $refusal;
        } catch (Exception $failure) {
            error_log("reconnecting: {$failure->getMessage()}");
        }
        usleep((int) ($retrySeconds * 1e6));
    }
}

try {
    follow($argv[1], function (ServerSentEvent $event): void {
        print_message($event->getId(), $event->getType(), $event->getData());
    });
} catch (Refused $failure) {
    print_error($failure->getMessage());
    exit(1);
}
