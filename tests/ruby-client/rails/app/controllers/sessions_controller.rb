# frozen_string_literal: true

class SessionsController < ApplicationController
  skip_before_action :require_user

  def new; end

  def create
    session[:user] = params.require(:user)
    redirect_to messages_path
  end
end
