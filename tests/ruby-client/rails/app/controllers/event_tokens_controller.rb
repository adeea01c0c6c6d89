# frozen_string_literal: true

class EventTokensController < ApplicationController
  def show
    response.headers["Cache-Control"] = "no-store"
    render json: { token: EventToken.for(current_user) }
  end
end
