<?php
// Symfony's EventSourceHttpClient: shows why docs/guide/clients/php.md advises against it.

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;

require __DIR__ . '/printing.php';
require 'Symfony/Component/HttpClient/autoload.php';

try {
    $client = new EventSourceHttpClient(reconnectionTime: 1.0);
    $response = $client->connect($argv[1]);
    foreach ($client->stream($response) as $chunk) {
        if ($chunk instanceof ServerSentEvent) {
            print_message($chunk->getId(), $chunk->getType(), $chunk->getData());
        }
    }
} catch (Throwable $failure) {
    print_error($failure::class);
}
