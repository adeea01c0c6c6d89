# frozen_string_literal: true

require "openssl"

# A JSON Web Token with which a user's browser may subscribe to the user's own pipeline.
module EventToken
  LIFETIME = Integer(ENV.fetch("EVENT_TOKEN_SECONDS", 600))

  def self.for(user)
    claims = { exp: Time.now.to_i + LIFETIME, pipecast: { subscribe: ["p_user_#{user}"] } }
    parts = [{ alg: "HS256", typ: "JWT" }, claims].map { |part| Base64.urlsafe_encode64(part.to_json, padding: false) }
    signature = OpenSSL::HMAC.digest("SHA256", ENV.fetch("EVENTS_JWT_SECRET"), parts.join("."))
    [*parts, Base64.urlsafe_encode64(signature, padding: false)].join(".")
  end
end
