"""What the journeys stand on: processes to start, peers that lie on demand, clients to ask with."""
