<?php
// Symfony's HttpClient: its EventSourceHttpClient reconnects after an error, and a loop around it after a regular end.

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;

require __DIR__ . '/printing.php';
require 'Symfony/Component/HttpClient/autoload.php';

/** Calls `$handle` for each event, until the node refuses the stream. */
function follow(string $url, callable $handle): never
{
    $client = new EventSourceHttpClient(reconnectionTime: 1.0);
    $query = [];
    while (true) {
        $response = $client->connect($url, ['query' => $query]);
        foreach ($client->stream($response, 45) as $chunk) {
            if ($chunk->isFirst() && $response->getStatusCode() !== 200) {
                throw new RuntimeException("refused: {$response->getStatusCode()}");
            }
            if ($chunk instanceof ServerSentEvent) {
                $handle($chunk);
            }
        }
        // The node has ended the stream. In the query, because the client sends its own Last-Event-ID header beside yours.
        $query = array_filter(['last_event_id' => $response->getInfo('last_event_id')]) + $query;
        usleep((int) ($response->getInfo('reconnection_time') * 1e6));
    }
}

try {
    follow($argv[1], function (ServerSentEvent $event): void {
        print_message($event->getId(), $event->getType(), $event->getData());
    });
} catch (Exception $failure) {
    print_error($failure->getMessage());
    exit(1);
}
