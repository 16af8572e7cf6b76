# CAST AI endpoints of vpc-1 in us-east-1, as castlink-endpoints plans them.
# What exists is imported: `terraform plan` shows what is still to be done.
# telemetry is left out: telemetry (com.amazonaws.vpce.us-east-1.vpce-svc-0c00cf3bb0688c735) is not known to EC2 here
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

provider "aws" {
  region = "us-east-1"
}

variable "castlink_accepted" {
  description = "Set to true once CAST AI has accepted the endpoints: EC2 takes private DNS only then."
  type        = bool
  default     = false
}

resource "aws_security_group" "castlink" {
  name        = "castlink-endpoints-vpc-1"
  description = "castlink: HTTPS from vpc-1 to the CAST AI endpoints"
  vpc_id      = "vpc-1"

  ingress {
    description      = "castlink: HTTPS to the endpoints"
    protocol         = "tcp"
    from_port        = 443
    to_port          = 443
    cidr_blocks      = ["10.0.0.0/16"]
    ipv6_cidr_blocks = ["2600:1f18::/56"]
  }

  tags = {
    "Name"                = "castlink-endpoints-vpc-1"
    "castlink:managed-by" = "castlink"
    "castlink:role"       = "endpoints"
    "owner"               = "it's \"$${HOME}\" %%{x}"
  }
}

resource "aws_vpc_endpoint" "kvisor" {
  vpc_endpoint_type   = "Interface"
  vpc_id              = "vpc-1"
  service_name        = "com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6"
  subnet_ids          = ["subnet-a", "subnet-b"]
  security_group_ids  = [aws_security_group.castlink.id]
  private_dns_enabled = true

  tags = {
    "Name"                = "castlink-kvisor"
    "castlink:managed-by" = "castlink"
    "castlink:role"       = "endpoints"
    "owner"               = "it's \"$${HOME}\" %%{x}"
  }
}

resource "aws_vpc_endpoint" "rest_api" {
  vpc_endpoint_type   = "Interface"
  vpc_id              = "vpc-1"
  service_name        = "com.amazonaws.vpce.us-east-1.vpce-svc-0f648001d494b9a46"
  subnet_ids          = ["subnet-a", "subnet-b"]
  security_group_ids  = [aws_security_group.castlink.id]
  private_dns_enabled = var.castlink_accepted

  tags = {
    "Name"                = "castlink-rest-api"
    "castlink:managed-by" = "castlink"
    "castlink:role"       = "endpoints"
    "owner"               = "it's \"$${HOME}\" %%{x}"
  }
}

resource "aws_vpc_endpoint" "s3" {
  vpc_endpoint_type = "Gateway"
  vpc_id            = "vpc-1"
  service_name      = "com.amazonaws.us-east-1.s3"
  route_table_ids   = ["rtb-1"]

  tags = {
    "Name"                = "castlink-s3"
    "castlink:managed-by" = "castlink"
    "castlink:role"       = "endpoints"
    "owner"               = "it's \"$${HOME}\" %%{x}"
  }
}

resource "aws_vpc_endpoint" "sts" {
  vpc_endpoint_type   = "Interface"
  vpc_id              = "vpc-1"
  service_name        = "com.amazonaws.us-east-1.sts"
  subnet_ids          = ["subnet-a", "subnet-b"]
  security_group_ids  = [aws_security_group.castlink.id]
  private_dns_enabled = true

  tags = {
    "Name"                = "castlink-sts"
    "castlink:managed-by" = "castlink"
    "castlink:role"       = "endpoints"
    "owner"               = "it's \"$${HOME}\" %%{x}"
  }
}
