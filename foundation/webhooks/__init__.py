"""Events sent to those who cannot ask for them: each webhook gets signed requests, in order, until its receiver has said yes."""
