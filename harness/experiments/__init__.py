"""What is studied: experiments, scales, studies, sweeps, claims and the requests for them."""
