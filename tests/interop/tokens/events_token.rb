require "jwt"
require "securerandom"

module EventsToken
  def self.for(user)
    claims = {
      exp: Time.now.to_i + 600,
      jti: SecureRandom.uuid,
      pipecast: { subscribe: ["user.#{user.id}"] },
    }
    JWT.encode(claims, ENV.fetch("EVENTS_JWT_SECRET"), "HS256")
  end
end
