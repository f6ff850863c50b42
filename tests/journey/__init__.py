"""Journeys: real fastdns processes on loopback between real clients and real or false upstreams."""
