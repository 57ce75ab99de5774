-- Run once, by the image of PostgreSQL, when its volume is empty: a role and a database each for
-- the engine and for MLflow. Neither may open the other's.
\set ON_ERROR_STOP on
\getenv engine_password ENGINE_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
CREATE ROLE engine LOGIN PASSWORD :'engine_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE engine OWNER engine;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE engine FROM PUBLIC;
REVOKE CONNECT ON DATABASE mlflow FROM PUBLIC;
