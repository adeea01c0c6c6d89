# frozen_string_literal: true

class EventTokensController < ApplicationController
  def show
    response.headers["Cache-Control"] = "no-store"
    render json: { token: EventToken.for(current_user) }
  end

  def create
    cookies[:pipecast_token] = {
      value: EventToken.for(current_user),
      domain: ENV["COOKIE_DOMAIN"],   # such as example.com, for app.example.com and events.example.com
      secure: request.ssl?, httponly: true, same_site: :lax
    }
    head :no_content
  end
end
