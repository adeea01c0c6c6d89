<?php
// Symfony's HttpClient as a publisher, see samples.mjs.

use Symfony\Component\HttpClient\HttpClient;
use Symfony\Component\HttpClient\Retry\GenericRetryStrategy;
use Symfony\Component\HttpClient\RetryableHttpClient;

require __DIR__ . '/printing.php';
require 'Symfony/Component/HttpClient/autoload.php';

/** Publishes one event and returns its id. Retries with the same key, so that the event is stored once. */
function publish(string $url, string $token, string $channel, mixed $payload): string
{
    // A POST is not retried by default: name the statuses. 0 is a lost connection.
    $strategy = new GenericRetryStrategy([0, 429, 500, 502, 503, 504], delayMs: 200);
    $client = new RetryableHttpClient(HttpClient::create(['timeout' => 5]), $strategy);
    $response = $client->request('POST', $url, [
        'auth_bearer' => $token,
        'headers' => ['Idempotency-Key' => bin2hex(random_bytes(16))],
        'json' => ['channel' => $channel, 'payload' => $payload],
    ]);
    $reply = $response->toArray(throw: false);
    if ($response->getStatusCode() !== 202) {
        throw new RuntimeException("not published: {$response->getStatusCode()} {$reply['detail']}");
    }
    return $reply['id'];
}

publish_names(publish(...));
