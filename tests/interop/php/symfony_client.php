<?php
// Symfony's HttpClient reads one answer; a loop around it reconnects.

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\HttpClient;
use Symfony\Contracts\HttpClient\Exception\ClientExceptionInterface;
use Symfony\Contracts\HttpClient\Exception\ExceptionInterface;

require __DIR__ . '/printing.php';
require 'Symfony/Component/HttpClient/autoload.php';

/** Calls `$handle` for each event, until the node refuses the stream: then it throws a ClientExceptionInterface. */
function follow(string $url, callable $handle): never
{
    $client = HttpClient::create(['timeout' => 45, 'buffer' => false]);
    $headers = ['Accept' => 'text/event-stream'];
    $retrySeconds = 1.0;
    while (true) {
        try {
            $response = $client->request('GET', $url, ['headers' => $headers]);
            $response->getHeaders(); // throws for a status of 300 or more
            $rest = '';
            foreach ($client->stream($response) as $chunk) {
                $blocks = explode("\n\n", $rest . $chunk->getContent());
                $rest = array_pop($blocks);
                foreach ($blocks as $block) {
                    $event = new ServerSentEvent($block);
                    $retrySeconds = $event->getRetry() ?: $retrySeconds;
                    if ($event->getId() !== '') {
                        $headers['Last-Event-ID'] = $event->getId();
                    }
                    if ($event->getData() !== '') {
                        $handle($event);
                    }
                }
            }
        } catch (ClientExceptionInterface $refusal) {
            throw $refusal;
        } catch (ExceptionInterface $failure) {
            error_log("reconnecting: {$failure->getMessage()}");
        }
        usleep((int) ($retrySeconds * 1e6));
    }
}

try {
    follow($argv[1], function (ServerSentEvent $event): void {
        print_message($event->getId(), $event->getType(), $event->getData());
    });
} catch (ClientExceptionInterface $failure) {
    print_error("{$failure->getCode()} {$failure->getMessage()}");
    exit(1);
}
