<?php
// Prints a token: token_sample.php SECRET PIPELINE.

/** A token with which a page reads one pipeline, for ten minutes. */
function events_token(string $secret, string $pipeline): string
{
    $encode = fn (string $text): string => rtrim(strtr(base64_encode($text), '+/', '-_'), '=');
    $claims = ['exp' => time() + 600, 'pipecast' => ['subscribe' => [$pipeline]]];
    $signed = $encode('{"alg":"HS256","typ":"JWT"}') . '.' . $encode(json_encode($claims, JSON_THROW_ON_ERROR));
    return $signed . '.' . $encode(hash_hmac('sha256', $signed, $secret, binary: true));
}

echo events_token($argv[1], $argv[2]);
